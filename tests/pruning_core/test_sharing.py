"""A search shared out among processes finds what one alone finds, number by number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pruning_core import PruneResult, parse_recipe, prune
from pruning_core.depth.conditions import Conditions
from pruning_core.depth.cuts import consecutive_cuts
from pruning_core.depth.share import Share, share_out
from pruning_core.depth.sharing import score_round
from pruning_core.depth.sweep import score_cuts, sweep_cost
from pruning_core.errors import OtherConditionsError
from pruning_core.events import ignore
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthRecipe
from pruning_core.sharing import score_share
from tests.pruning_core.conftest import ON_DEVICE, Load
from tests.tiny_models import VOCABULARY

CUTS = tuple(consecutive_cuts(4, 2))
WINDOWS = torch.randint(1, VOCABULARY, (7, 48), generator=torch.Generator().manual_seed(3))
WHOLE = Share(cuts=CUTS, start=1, end=7, positions=40)

Score = Callable[[Share, Conditions], Tensor | None]


@dataclass
class Colleagues:
    """Helpers who do what they are asked at once, in this process."""

    number: int
    score: Score
    offered: list[list[Share]] = field(default_factory=list)
    losses: list[Tensor | None] = field(default_factory=list)

    def offer(self, shares: Sequence[Share], conditions: Conditions) -> None:
        self.offered.append(list(shares))
        self.losses = [self.score(share, conditions) for share in shares]

    def collect(self) -> Sequence[Tensor | None]:
        return self.losses


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> int:
    """Two windows make a batch."""
    monkeypatch.setattr("pruning_core.budgets.TOKENS_PER_CPU_BATCH", 2 * 40)
    return 2


@pytest.mark.parametrize("people", range(1, 9))
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 10])
def test_shares_are_runs_of_whole_batches_that_make_up_the_round(batch: int, people: int) -> None:
    whole = WHOLE.model_copy(update={"start": 4, "end": 14})
    shares = share_out(whole, batch, people)
    assert len(shares) == min(people, -(-10 // batch))
    assert [share.start for share in shares[1:]] == [share.end for share in shares[:-1]]
    assert (shares[0].start, shares[-1].end) == (4, 14)
    assert all((share.start - 4) % batch == 0 for share in shares)
    sizes = [-(-(share.end - share.start) // batch) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == max(sizes)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("absent", [None, 0, 1])
def test_a_round_comes_out_the_same_whoever_scored_what(
    load: Load, batch: int, number: int, absent: int | None
) -> None:
    model = load()
    costs = CostModel(head=2.5, gram=0.0, change=0.0, solve=0.0, fit=0.0, fit_tokens=0)
    meters = [Meter(costs, 1.0, ignore) for _ in range(3)]
    expected = score_cuts(model, WHOLE.of(WINDOWS), CUTS, meters[0], ON_DEVICE)

    def score(share: Share, conditions: Conditions) -> Tensor | None:
        assert conditions == Conditions.of(model, WINDOWS)
        if share.start == WHOLE.start + batch * (1 + (absent or 0)) and absent is not None:
            return None
        elsewhere = score_round(load(), WINDOWS, WHOLE, meters[1], ON_DEVICE, None)
        rows = slice(share.start - WHOLE.start, share.end - WHOLE.start)
        return share.unpack(share.pack(elsewhere[:, rows]))

    colleagues = Colleagues(number, score)
    scored = score_round(model, WINDOWS, WHOLE, meters[2], ON_DEVICE, colleagues)
    assert torch.equal(scored, expected)
    assert [len(shares) for shares in colleagues.offered] == [min(number, 2)]
    assert meters[2]._done == pytest.approx(sweep_cost(4, CUTS, 6 * 40, costs))


def test_a_round_of_one_batch_is_not_shared_out(load: Load, batch: int, meter: Meter) -> None:
    colleagues = Colleagues(3, lambda *_: None)
    small = WHOLE.model_copy(update={"end": WHOLE.start + batch})
    scored = score_round(load(), WINDOWS, small, meter, ON_DEVICE, colleagues)
    assert colleagues.offered == []
    assert torch.equal(scored, score_cuts(load(), small.of(WINDOWS), CUTS, meter, ON_DEVICE))


def test_losses_travel_with_every_bit() -> None:
    share = Share(cuts=((0,), (1,)), start=2, end=5, positions=17)
    losses = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(4))
    losses[0, 0, :3] = torch.tensor([torch.nan, torch.inf, 1e-42])
    assert torch.equal(share.unpack(share.pack(losses)).view(torch.int32), losses.view(torch.int32))
    with pytest.raises(ValueError, match="reshape"):
        share.unpack(share.pack(losses[:, :2]))


def recipe_of(folder: Path, **options: object) -> DepthRecipe:
    recipe = parse_recipe(
        {
            "model": str(folder),
            "method": "depth",
            "ratio": 0.25,
            "options": {"heal": "none", "parallelism": 3, **options},
            "calibration": {"dataset": "builtin", "samples": 40, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 1, "sequence_length": 64},
        }
    )
    assert isinstance(recipe, DepthRecipe)
    return recipe


@pytest.mark.parametrize("options", [{}, {"search": "exhaustive"}, {"selection": "greedy"}], ids=str)
def test_a_pruning_with_helpers_gives_the_same_table(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setattr("pruning_core.budgets.TOKENS_PER_CPU_BATCH", 4 * 64)
    recipe = recipe_of(tiny_llama, **options)
    colleagues = Colleagues(2, lambda share, conditions: score_share(recipe, share, conditions, device="cpu"))

    def pruned(name: str, helpers: Colleagues | None) -> PruneResult:
        return prune(recipe, tmp_path / name, device="cpu", helpers=helpers)

    together, alone = pruned("together", colleagues), pruned("alone", None)
    assert together.removed_layers == alone.removed_layers
    assert together.candidates == alone.candidates
    assert colleagues.offered
    assert None not in colleagues.losses


def test_who_would_compute_something_else_does_not_help(tiny_llama: Path) -> None:
    share = Share(cuts=((0,), (1,)), start=0, end=2, positions=64)
    other = Conditions(windows="another text", arithmetic="an abacus")
    with pytest.raises(OtherConditionsError, match="abacus"):
        score_share(recipe_of(tiny_llama), share, other, device="cpu")
