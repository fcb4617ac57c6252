"""Depth pruning as a whole."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.depth.prune import DepthOutcome, depth_cost, prune_depth
from pruning_core.errors import BrokenModelError
from pruning_core.events import CandidateScored, Event, LayerHealed, OnEvent, ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthOptions
from tests.pruning_core.conftest import ON_DEVICE, Load, transformers_loss
from tests.pruning_core.test_sweep import brute_force

COSTS = CostModel(head=1.0, gram=1.0, change=1.0, solve=1.0, fit=1.0, fit_tokens=1)
UNHEALED = DepthOptions(heal="none")


def prune(
    model: ResidentModel,
    windows: Tensor,
    remove: int,
    options: DepthOptions = UNHEALED,
    *,
    meter: Meter | None = None,
    on_event: OnEvent = ignore,
) -> DepthOutcome:
    return prune_depth(
        model,
        remove=remove,
        search_windows=windows[:2],
        heal_windows=windows[2:],
        options=options,
        shelf=ON_DEVICE,
        costs=COSTS,
        meter=meter or Meter(COSTS, 1e12, ignore),
        on_event=on_event,
    )


def test_the_run_whose_loss_hurts_least_goes(load: Load, windows: Tensor) -> None:
    model = load()
    losses = {cut: brute_force(model, windows[:2], cut).mean().item() for cut in [(0, 1), (1, 2), (2, 3)]}
    best = min(losses, key=losses.__getitem__)
    events: list[Event] = []
    outcome = prune(model, windows, 2, on_event=events.append)
    assert outcome.removed == outcome.candidates[0].layers == best
    assert outcome.candidates[0].perplexity == pytest.approx(math.exp(losses[best]), rel=1e-5)
    assert len(model) == 2
    scored = [event for event in events if isinstance(event, CandidateScored)]
    assert [event.layers for event in scored] == [(0, 1), (1, 2), (2, 3)]


def test_greedy_removes_the_layer_that_is_missed_least_again_and_again(load: Load, windows: Tensor) -> None:
    model = load()
    removed: tuple[int, ...] = ()
    for _ in range(2):
        ways = [tuple(sorted((*removed, index))) for index in range(4) if index not in removed]
        removed = min(ways, key=lambda cut: brute_force(model, windows[:2], cut).mean().item())
    outcome = prune(model, windows, 2, DepthOptions(heal="none", selection="greedy"))
    assert outcome.removed == removed


@torch.no_grad()
def test_block_influence_removes_the_run_that_turns_the_hidden_states_least(
    load: Load, windows: Tensor
) -> None:
    model = load()
    states = model.model(input_ids=windows[:2], output_hidden_states=True, use_cache=False).hidden_states
    # transformers gives the last state behind the final norm, so the last run is left out of the comparison.
    expected = [
        1 - functional.cosine_similarity(states[start], states[start + 2], dim=-1).mean().item()
        for start in range(2)
    ]
    outcome = prune(model, windows, 2, DepthOptions(heal="none", score="block_influence"))
    influences = {candidate.layers[0]: candidate.block_influence for candidate in outcome.candidates}
    assert [influences[start] for start in range(2)] == pytest.approx(expected, abs=1e-5)
    assert outcome.removed[0] == min(influences, key=lambda start: influences[start] or 0.0)
    assert outcome.candidates[0].perplexity is None
    # Only the dense model ran.
    assert {candidate.tokens for candidate in outcome.candidates} == {0}


@pytest.mark.parametrize("heal", ["none", "all"])
def test_named_layers_go_without_a_search(load: Load, windows: Tensor, heal: str) -> None:
    events: list[Event] = []
    model = load()
    options = DepthOptions.model_validate({"heal": heal, "layers": (3, 1)})
    outcome = prune(model, windows, 2, options, on_event=events.append)
    assert outcome.removed == (1, 3)
    assert len(model) == 2
    assert [candidate.layers for candidate in outcome.candidates] == [(1, 3)]
    assert len([event for event in events if isinstance(event, LayerHealed)]) == (2 if heal == "all" else 0)


def test_the_choice_is_made_among_healed_leaders(
    load: Load, windows: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = [candidate.layers for candidate in prune(load(), windows, 1).candidates]
    tried: list[tuple[tuple[int, ...], int, bool]] = []

    def pretend(
        _model: object, cut: tuple[int, ...], heal_windows: Tensor, *, keep: bool, **_: object
    ) -> tuple[float, list[LayerHealed]]:
        tried.append((cut, len(heal_windows), keep))
        return {ranked[0]: 3.0, ranked[1]: 2.0, ranked[2]: math.nan}[cut], []

    monkeypatch.setattr("pruning_core.depth.prune.heal", pretend)
    outcome = prune(load(), windows, 1, DepthOptions())
    assert tried == [*((cut, 1, False) for cut in ranked[:3]), (ranked[1], 4, True)]
    assert outcome.removed == ranked[1]
    assert [candidate.layers for candidate in outcome.candidates[:2]] == [ranked[1], ranked[0]]
    assert outcome.candidates[0].healed == pytest.approx(math.exp(2.0))
    assert math.isnan(outcome.candidates[2].healed or 0.0)


@pytest.mark.parametrize("leaders", [1, 3])
def test_a_model_that_no_heal_leaves_finite_is_said_to_be_broken_with_the_best_cut(
    load: Load, windows: Tensor, monkeypatch: pytest.MonkeyPatch, leaders: int
) -> None:
    (best,) = prune(load(), windows, 1).candidates[0].layers
    monkeypatch.setattr("pruning_core.depth.prune.heal", lambda *_, **__: (math.nan, []))
    model = load()
    with pytest.raises(BrokenModelError, match=rf'heal = "all".*"none" and options.layers \[{best}\]'):
        prune(model, windows, 1, DepthOptions(leaders=leaders))
    assert len(model) == 4


def test_the_healed_model_is_the_one_that_was_measured(load: Load, windows: Tensor) -> None:
    model = load()
    outcome = prune(model, windows, 2, DepthOptions())
    loss = transformers_loss(model.model, windows[:2])
    assert outcome.candidates[0].healed == pytest.approx(math.exp(loss), rel=1e-5)
    assert {layer.layer for layer in outcome.healed}.isdisjoint(outcome.removed)


def test_a_candidate_that_is_not_finite_never_wins(load: Load, windows: Tensor) -> None:
    model = load()
    with torch.no_grad():
        model.model.model.layers[1].mlp.down_proj.weight.fill_(torch.nan)
    candidates = prune(model, windows, 2).candidates
    # Layer 1 poisons every model it stays in.
    assert 1 in candidates[0].layers
    assert math.isnan(candidates[-1].perplexity or 0.0)


def test_a_loss_whose_perplexity_no_float_holds_never_wins(
    load: Load, windows: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = torch.tensor([1e4, 2.0, 1e4])[:, None, None].expand(3, 2, 47)
    monkeypatch.setattr("pruning_core.depth.sharing.score_cuts", lambda *_: losses)
    candidates = prune(load(), windows, 2).candidates
    assert candidates[0].layers == (1, 2)
    assert candidates[-1].perplexity == math.inf


@pytest.mark.parametrize("score", ["perplexity", "block_influence"])
def test_a_model_without_any_finite_candidate_is_said_to_be_broken(
    load: Load, windows: Tensor, score: str
) -> None:
    model = load()
    with torch.no_grad():
        model.model.get_input_embeddings().weight.fill_(torch.nan)
    with pytest.raises(BrokenModelError, match="finite"):
        prune(model, windows, 1, DepthOptions.model_validate({"heal": "none", "score": score}))


@pytest.mark.parametrize("heal", ["none", "boundary", "all"])
@pytest.mark.parametrize(
    "what",
    [{}, {"score": "block_influence"}, {"layers": (1, 2)}, {"layers": (0, 3)}, {"search": "exhaustive"}],
    ids=str,
)
def test_what_was_announced_and_not_spared_is_done(
    load: Load, windows: Tensor, what: dict[str, object], heal: str
) -> None:
    options = DepthOptions.model_validate({"heal": heal, **what})
    announced = depth_cost(
        4, 2, search_windows=windows[:2], heal_windows=windows[2:], options=options, costs=COSTS
    )
    meter = Meter(COSTS, announced, ignore)
    prune(load(), windows, 2, options, meter=meter)
    assert meter._done == pytest.approx(meter._total)
    assert meter._total <= announced
