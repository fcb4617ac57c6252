"""The losses of many cuts in one sweep, against plain transformers forwards of the cut models."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pruning_core import budgets
from pruning_core.depth.cuts import Cut, consecutive_cuts, cuts_of_one_more, layer_passes, name_layers
from pruning_core.depth.sweep import score_batches, score_cuts, sweep_batch, sweep_cost
from pruning_core.events import Event
from pruning_core.layered_model import ResidentModel
from pruning_core.progress import CostModel, Meter, Progress
from tests.pruning_core.conftest import ON_DEVICE, Load
from tests.tiny_models import VOCABULARY

CUTS = {
    "runs of 1": consecutive_cuts(4, 1),
    "runs of 2": consecutive_cuts(4, 2),
    "runs of 3": consecutive_cuts(4, 3),
    "one more than 1": cuts_of_one_more(4, (1,)),
    "any two": list(itertools.combinations(range(4), 2)),
}


@torch.no_grad()
def brute_force(model: ResidentModel, windows: Tensor, cut: Cut) -> Tensor:
    """Cut the layers out of a copy with nothing but transformers and lists, and forward it window by window."""
    copied = copy.deepcopy(model.model)
    kept = [layer for index, layer in enumerate(copied.model.layers) if index not in cut]
    copied.model.layers = torch.nn.ModuleList(kept)
    copied.config.num_hidden_layers = len(kept)
    losses = [copied(input_ids=window, labels=window, use_cache=False).loss for window in windows.split(1)]
    return torch.stack(losses)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
def test_one_sweep_scores_every_cut_as_a_forward_of_the_cut_model_does(
    load: Load, windows: Tensor, meter: Meter, cuts: list[Cut]
) -> None:
    model = load()
    scored = score_cuts(model, windows, cuts, meter, ON_DEVICE)
    assert scored.shape == (len(cuts), len(windows), windows.shape[1] - 1)
    for cut, losses in zip(cuts, scored, strict=True):
        assert torch.allclose(losses.mean(dim=1), brute_force(model, windows, cut), rtol=1e-5)


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_batches_change_nothing(
    load: Load, windows: Tensor, meter: Meter, together: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cuts = load(), consecutive_cuts(4, 2)
    expected = score_cuts(model, windows, cuts, meter, ON_DEVICE)
    of_one_window = len(cuts) * windows.shape[1] * 32 * 4
    monkeypatch.setattr(budgets, "SWEEP_BYTES", together * of_one_window)
    monkeypatch.setattr("pruning_core.budgets.TOKENS_PER_CPU_BATCH", batch * windows.shape[1])
    assert torch.allclose(score_cuts(model, windows, cuts, meter, ON_DEVICE), expected, rtol=1e-5)


@pytest.mark.parametrize("held", [2, 5, 100], ids="hidden states of {} windows at a time".format)
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
def test_losses_are_the_same_to_the_last_bit_however_batches_are_shared_out(
    load: Load, meter: Meter, cuts: list[Cut], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()
    windows = torch.randint(1, VOCABULARY, (7, 48), generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr("pruning_core.budgets.TOKENS_PER_CPU_BATCH", 2 * windows.shape[1])
    monkeypatch.setattr(budgets, "SWEEP_BYTES", held * len(cuts) * windows.shape[1] * 32 * 4)
    # So that a row's place among a chunk's logits would show.
    monkeypatch.setattr("pruning_core.budgets.LOGITS_PER_CHUNK", 17 * VOCABULARY)
    assert sweep_batch(model, windows.shape[1], cuts) == 2
    whole = score_cuts(model, windows, cuts, meter, ON_DEVICE)
    for ends in [(0, 2, 7), (0, 4, 7), (0, 6, 7), (0, 2, 4, 6, 7)]:
        shares = [
            score_batches(model, windows[start:end], cuts, meter, ON_DEVICE)
            for start, end in itertools.pairwise(ends)
        ]
        assert torch.equal(torch.cat(shares, dim=1), whole)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
def test_the_sweep_costs_what_was_announced(load: Load, windows: Tensor, cuts: list[Cut]) -> None:
    costs = CostModel(head=2.5, gram=0.0, change=0.0, solve=0.0, fit=0.0, fit_tokens=0)
    announced = sweep_cost(4, cuts, windows.numel(), costs)
    told: list[Event] = []
    meter = Meter(costs, announced, told.append)
    meter._reported = -math.inf
    score_cuts(load(), windows, cuts, meter, ON_DEVICE)
    assert meter._done == pytest.approx(announced)
    meter.finish()
    first, *_, last = told
    assert isinstance(first, Progress)
    assert isinstance(last, Progress)
    assert last.layer_tokens == sweep_cost(4, cuts, windows.numel(), replace(costs, head=0.0))


def test_each_layer_is_opened_once_for_all_cuts(
    load: Load, windows: Tensor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()
    opened: list[int] = []
    lend = model.open
    monkeypatch.setattr(model, "open", lambda index: (opened.append(index), lend(index))[1])
    score_cuts(model, windows, consecutive_cuts(4, 2), meter, ON_DEVICE)
    assert opened == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("layers", "name"), [((12, 13, 14), "12–14"), ((3,), "3"), ((0, 2, 3, 29), "0, 2–3, 29")]
)
def test_runs_are_named_by_their_ends(layers: Cut, name: str) -> None:
    assert name_layers(layers) == name


@pytest.mark.parametrize(("layers", "length"), [(30, 3), (64, 6), (80, 9)])
def test_runs_pass_half_the_layers_that_forwards_of_every_cut_model_do(layers: int, length: int) -> None:
    cuts = consecutive_cuts(layers, length)
    kept = layers - length
    # Behind the cuts, and once before them.
    assert layer_passes(layers, cuts) == kept * (kept + 1) // 2 + kept
    assert layer_passes(layers, cuts) < 0.55 * len(cuts) * kept
