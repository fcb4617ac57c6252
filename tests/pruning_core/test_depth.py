"""Depth pruning, against plain transformers forwards of the cut model."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from pruning_core.depth.removal import remove_layers
from pruning_core.depth.search import prune_depth
from pruning_core.depth.sweep import score_runs, sweep_cost
from pruning_core.errors import BrokenModelError
from pruning_core.events import CandidateScored, Event, ignore
from pruning_core.progress import CostModel, Meter, Progress
from pruning_core.streaming import ResidentModel
from tests.pruning_core.conftest import Load, resident, transformers_loss


def brute_force(model: ResidentModel, windows: Tensor, run_length: int) -> list[float]:
    """Cut every run out of a copy with nothing but transformers and lists, and forward it."""
    losses = []
    for start in range(len(model) - run_length + 1):
        cut = copy.deepcopy(model.model)
        del cut.model.layers[start : start + run_length]
        cut.config.num_hidden_layers = len(cut.model.layers)
        losses.append(transformers_loss(cut, windows))
    return losses


@pytest.mark.parametrize("run_length", [1, 2, 3])
def test_one_sweep_scores_every_run_as_a_forward_of_the_cut_model_does(
    load: Load, windows: Tensor, meter: Meter, run_length: int
) -> None:
    model = load()
    expected = brute_force(model, windows, run_length)
    assert score_runs(model, windows, run_length, meter) == pytest.approx(expected, rel=1e-5)


def test_batches_share_their_losses(
    load: Load, windows: Tensor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()
    monkeypatch.setattr("pruning_core.streaming.TOKENS_PER_CPU_BATCH", windows.shape[1])
    assert score_runs(model, windows, 2, meter) == pytest.approx(brute_force(model, windows, 2), rel=1e-5)


@pytest.mark.parametrize("run_length", [1, 2, 3])
def test_the_sweep_costs_what_was_announced(load: Load, windows: Tensor, run_length: int) -> None:
    costs = CostModel(head=2.5, gram=0.0, change=0.0, solve=0.0, fit=0.0, fit_tokens=0)
    announced = sweep_cost(4, run_length, windows.numel(), costs)
    told: list[Event] = []
    meter = Meter(costs, announced, told.append)
    meter._reported = -math.inf
    score_runs(load(), windows, run_length, meter)
    assert meter._done == pytest.approx(announced)
    assert isinstance(told[0], Progress)


def test_the_run_whose_loss_hurts_least_goes(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    losses = brute_force(model, windows, 2)
    best = losses.index(min(losses))
    events: list[Event] = []
    candidates = prune_depth(model, windows, remove=2, meter=meter, on_event=events.append)
    assert candidates[0].layers == (best, best + 1)
    assert candidates[0].perplexity == pytest.approx(math.exp(min(losses)), rel=1e-5)
    assert len(model) == 2
    scored = [event for event in events if isinstance(event, CandidateScored)]
    assert [event.layers for event in scored] == [(0, 1), (1, 2), (2, 3)]


def test_a_candidate_that_is_not_finite_never_wins(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    with torch.no_grad():
        model.model.model.layers[1].mlp.down_proj.weight.fill_(torch.nan)
    candidates = prune_depth(model, windows, remove=2, meter=meter, on_event=ignore)
    # Layer 1 poisons every model it stays in.
    assert 1 in candidates[0].layers
    assert math.isnan(candidates[-1].perplexity)


def test_a_loss_whose_perplexity_no_float_holds_never_wins(
    load: Load, windows: Tensor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.depth.search.score_runs", lambda *_: [1e4, 2.0, 1e4])
    candidates = prune_depth(load(), windows, remove=2, meter=meter, on_event=ignore)
    assert candidates[0].layers == (1, 2)
    assert candidates[-1].perplexity == math.inf


def test_a_model_without_any_finite_candidate_is_said_to_be_broken(
    load: Load, windows: Tensor, meter: Meter
) -> None:
    model = load()
    with torch.no_grad():
        model.model.get_input_embeddings().weight.fill_(torch.nan)
    with pytest.raises(BrokenModelError, match="No run of 1 layers"):
        prune_depth(model, windows, remove=1, meter=meter, on_event=ignore)


@pytest.mark.parametrize("removed", [(0,), (1, 2), (3,), (0, 1, 2)])
def test_everything_that_counts_layers_follows(
    folder: Path, removed: tuple[int, ...], tmp_path: Path
) -> None:
    model = resident(AutoModelForCausalLM.from_pretrained(folder))
    remove_layers(model, removed)
    kept = 4 - len(removed)
    assert model.config.num_hidden_layers == kept
    assert [layer.self_attn.layer_idx for layer in model._layers] == list(range(kept))
    if model.family.per_layer_lists:
        assert len(model.config.layer_types) == kept

    model.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.arange(1, 20)[None]
    with torch.no_grad():
        assert again(tokens).logits.equal(model.model(tokens).logits)


def test_the_cut_model_generates_with_a_cache_in_a_padded_batch(folder: Path) -> None:
    model = resident(AutoModelForCausalLM.from_pretrained(folder))
    remove_layers(model, (1,))
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    alone = tokenizer(["The quick brown fox"], return_tensors="pt")
    batch = tokenizer(["The quick brown fox", "a"], return_tensors="pt", padding=True)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    cached = model.model.generate(**alone, **options)
    uncached = model.model.generate(**alone, **options, use_cache=False)
    padded = model.model.generate(**batch, **options)
    assert cached.equal(uncached)
    assert padded[0, -8:].equal(cached[0, -8:])
