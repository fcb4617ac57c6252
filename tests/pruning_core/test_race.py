"""A race drops the clearly worse, and ends where an exhaustive search does."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pruning_core.depth.cuts import Cut, consecutive_cuts
from pruning_core.depth.race import Standing, plan_rounds, race, race_cost, run_all
from pruning_core.depth.sweep import score_cuts, sweep_cost
from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.progress import CostModel, Meter
from tests.pruning_core.conftest import ON_DEVICE, Load
from tests.tiny_models import VOCABULARY

COSTS = CostModel(head=2.0, gram=0.0, change=0.0, solve=0.0, fit=0.0, fit_tokens=0)


def run(
    model: ResidentModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    *,
    confidence: float = 0.99,
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
        shelf=ON_DEVICE,
        on_round=lambda standings: told.append(list(standings)),
    )
    return standings, told


def many_windows(seed: int) -> Tensor:
    return torch.randint(1, VOCABULARY, (16, 512), generator=torch.Generator().manual_seed(seed))


def scored_as(monkeypatch: pytest.MonkeyPatch, losses: dict[Cut, Tensor]) -> list[tuple[int, int]]:
    """Let cuts have these losses, [windows, positions − 1]; gives how many cuts ran on how many tokens each time."""
    asked: list[tuple[int, int]] = []
    done = 0

    def score(_model: object, windows: Tensor, cuts: Sequence[Cut], *_: object) -> Tensor:
        nonlocal done
        asked.append((len(cuts), windows.numel()))
        part = slice(done, done + len(windows))
        # The first round only begins with the first window.
        done += len(windows) if windows.shape[1] == 512 else 0
        return torch.stack([losses[cut][part, : windows.shape[1] - 1] for cut in cuts])

    monkeypatch.setattr("pruning_core.depth.sharing.score_cuts", score)
    return asked


def noise(seed: int, mean: float, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + size * torch.randn(16, 511, generator=generator)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("length", [1, 2])
def test_it_chooses_what_an_exhaustive_search_chooses(load: Load, seed: int, length: int) -> None:
    model, windows, cuts = load(), many_windows(seed), consecutive_cuts(4, length)
    raced, _ = run(model, windows, cuts)
    exhaustive = run_all(model, windows, cuts, meter=Meter(COSTS, 1.0, ignore), shelf=ON_DEVICE)
    assert raced[0].cut == exhaustive[0].cut
    assert {standing.tokens for standing in exhaustive} == {16 * 511}
    assert [standing.in_race for standing in exhaustive] == [True] + [False] * (len(cuts) - 1)
    means = score_cuts(model, windows, cuts, Meter(COSTS, 1.0, ignore), ON_DEVICE).double().mean((1, 2))
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
        (3,): common + noise(3, 0.4, 3.0),
    }
    asked = scored_as(monkeypatch, losses)
    meter = Meter(COSTS, 1000.0, ignore)
    _, told = run(load(), many_windows(0), list(losses), meter=meter)
    assert asked == [(4, 256), (3, 1024), (2, 1024), (2, 2048), (2, 4096)]
    # On all windows only one is the best.
    assert [sum(standing.in_race for standing in part) for part in told] == [3, 2, 2, 2, 1]
    run_through = sum(sweep_cost(4, [(1,), (2,), (3,), (0,)][:cuts], tokens, COSTS) for cuts, tokens in asked)
    announced = race_cost(4, many_windows(0), list(losses), COSTS)
    assert meter._total == pytest.approx(1000.0 - announced + run_through)
    dropped = next(standing for standing in told[0] if standing.cut == (0,))
    leader = min(told[0], key=lambda standing: standing.loss)
    assert dropped.tokens == 255
    assert leader.loss < dropped.low < dropped.loss < dropped.high
    assert (leader.low, leader.high) == (leader.loss, leader.loss)


def test_it_ends_when_one_is_left(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {(0,): noise(0, 3.0), (1,): noise(0, 3.0) + 1.0}
    asked = scored_as(monkeypatch, losses)
    standings, _ = run(load(), many_windows(0), list(losses))
    assert asked == [(2, 256)]
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
    losses = {(0,): noise(0, 3.0)[:, :63], (1,): noise(1, 9.0)[:, :63]}
    monkeypatch.setattr("pruning_core.depth.race.SECOND_ROUND_TOKENS", 128)
    monkeypatch.setattr(
        "pruning_core.depth.sharing.score_cuts",
        lambda _, windows, cuts, *__: torch.stack([losses[cut][: len(windows)] for cut in cuts]),
    )
    _, told = run(load(), many_windows(0)[:, :64], list(losses))
    assert all(standing.in_race for standing in told[0])
    assert told[0][1].high == math.inf
    assert told[0][0].tokens == 2 * 63


def test_rounds_begin_with_little_and_double() -> None:
    def sizes(windows: int, length: int) -> list[tuple[int, int, int]]:
        return [(part.start, part.end, part.positions) for part in plan_rounds(windows, length)]

    assert sizes(8, 1024) == [(0, 1, 256), (0, 1, 1024), (1, 2, 1024), (2, 4, 1024), (4, 8, 1024)]
    assert sizes(10, 256) == [(0, 4, 256), (4, 8, 256), (8, 10, 256)]
    assert sizes(3, 64) == [(0, 3, 64)]
    assert sizes(1, 2048) == [(0, 1, 256), (0, 1, 2048)]
