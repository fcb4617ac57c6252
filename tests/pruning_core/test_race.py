"""A race drops the clearly worse, and ends where an exhaustive search does."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pruning_core.depth.cuts import Cut, consecutive_cuts
from pruning_core.depth.race import Standing, race, rounds
from pruning_core.depth.sweep import score_cuts, sweep_cost
from pruning_core.events import ignore
from pruning_core.progress import CostModel, Meter
from pruning_core.streaming import ResidentModel
from tests.pruning_core.conftest import Load
from tests.tiny_models import VOCABULARY

COSTS = CostModel(head=2.0, gram=0.0, change=0.0, solve=0.0, fit=0.0, fit_tokens=0)


def run(
    model: ResidentModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    *,
    confidence: float | None = 0.99,
    meter: Meter | None = None,
) -> tuple[list[Standing], list[list[Standing]]]:
    """The final standings and those of each round."""
    told: list[list[Standing]] = []
    meter = meter or Meter(COSTS, 1.0, ignore)
    standings = race(
        model,
        windows,
        cuts,
        confidence=confidence,
        costs=COSTS,
        meter=meter,
        on_round=lambda standings: told.append(list(standings)),
    )
    return standings, told


def many_windows(seed: int) -> Tensor:
    return torch.randint(1, VOCABULARY, (16, 512), generator=torch.Generator().manual_seed(seed))


def scored_as(monkeypatch: pytest.MonkeyPatch, losses: dict[Cut, Tensor]) -> list[tuple[int, int]]:
    """Let cuts have these losses, [windows, positions − 1]; gives how many cuts ran on how many windows each time."""
    asked: list[tuple[int, int]] = []
    done = 0

    def score(_model: object, windows: Tensor, cuts: Sequence[Cut], _meter: object) -> Tensor:
        nonlocal done
        asked.append((len(cuts), len(windows)))
        part = slice(done, done + len(windows))
        done += len(windows)
        return torch.stack([losses[cut][part] for cut in cuts])

    monkeypatch.setattr("pruning_core.depth.race.score_cuts", score)
    return asked


def noise(seed: int, mean: float, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + size * torch.randn(16, 511, generator=generator)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [1, 2])
def test_it_chooses_what_an_exhaustive_search_chooses(load: Load, seed: int, length: int) -> None:
    model, windows, cuts = load(), many_windows(seed), consecutive_cuts(4, length)
    raced, _ = run(model, windows, cuts)
    exhaustive, told = run(model, windows, cuts, confidence=None)
    assert raced[0].cut == exhaustive[0].cut
    assert len(told) == 1
    assert all(standing.in_race and standing.windows == 16 for standing in exhaustive)
    means = score_cuts(model, windows, cuts, Meter(COSTS, 1.0, ignore)).double().mean((1, 2))
    assert exhaustive[0].cut == cuts[int(means.argmin())]
    assert exhaustive[0].loss == pytest.approx(means.min().item(), rel=1e-6)


def test_the_clearly_worse_drop_out_and_cost_nothing_more(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = noise(0, 3.0)
    losses = {
        (0,): common + 2.0,
        (1,): common + noise(1, 0.0, 0.01),
        (2,): common + noise(2, 0.0001, 0.01),
        (3,): common + noise(3, 0.5, 0.1),
    }
    asked = scored_as(monkeypatch, losses)
    meter = Meter(COSTS, 1000.0, ignore)
    standings, told = run(load(), many_windows(0), list(losses), meter=meter)
    assert {standing.cut for standing in standings if standing.in_race} == {(1,), (2,)}
    assert asked == [(4, 2), (2, 2), (2, 4), (2, 8)]
    assert [sum(standing.in_race for standing in part) for part in told] == [2, 2, 2, 2]
    spared = sweep_cost(4, list(losses), 14 * 512, COSTS) - sweep_cost(4, [(1,), (2,)], 14 * 512, COSTS)
    assert meter._total == pytest.approx(1000.0 - spared)
    dropped = next(standing for standing in standings if standing.cut == (0,))
    leader = standings[0]
    assert dropped.windows == 2
    assert leader.loss < dropped.low < dropped.loss < dropped.high
    assert (leader.low, leader.high) == (leader.loss, leader.loss)


def test_it_ends_when_one_is_left(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {(0,): noise(0, 3.0), (1,): noise(0, 3.0) + 1.0}
    asked = scored_as(monkeypatch, losses)
    standings, _ = run(load(), many_windows(0), list(losses))
    assert asked == [(2, 2)]
    assert standings[0].cut == (0,)


def test_a_worse_cut_that_noise_favours_at_first_does_not_drop_the_better(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 races between cuts whose difference is drowned in noise, at most one in a hundred may end wrongly."""
    wrong, model = 0, load()
    for seed in range(200):
        losses = {
            (0,): noise(3 * seed, 3.0),
            (1,): noise(3 * seed + 1, 3.01),
            (2,): noise(3 * seed + 2, 3.01),
        }
        scored_as(monkeypatch, losses)
        standings, _ = run(model, many_windows(0), list(losses))
        best = min(losses, key=lambda cut: losses[cut].mean().item())
        wrong += standings[0].cut != best
    assert wrong <= 2


def test_losses_that_are_not_finite_drop_out_at_once(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {(0,): noise(0, 3.0) * math.nan, (1,): noise(1, 9.0), (2,): noise(2, 3.0) + math.inf}
    scored_as(monkeypatch, losses)
    standings, told = run(load(), many_windows(0), list(losses))
    assert standings[0].cut == (1,)
    assert [standing.in_race for standing in told[0]] == [False, True, False]


def test_too_few_tokens_exclude_nobody(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {(0,): noise(0, 3.0)[:1], (1,): noise(1, 9.0)[:1]}
    scored_as(monkeypatch, losses)
    standings, _ = run(load(), many_windows(0)[:1], list(losses))
    assert [standing.cut for standing in standings] == [(0,), (1,)]
    assert standings[1].in_race
    assert standings[1].high == math.inf


def test_rounds_begin_with_a_thousand_tokens_and_double() -> None:
    assert rounds(8, 1024) == [1, 2, 4, 8]
    assert rounds(10, 256) == [4, 8, 10]
    assert rounds(3, 64) == [3]
    assert rounds(1, 2048) == [1]
