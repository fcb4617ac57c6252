"""OSSCAR over a whole model."""

import math

import pytest
import torch
from torch import Tensor

from pruning_core import budgets
from pruning_core.errors import BrokenModelError
from pruning_core.events import Event, LayerPruned, PerplexityPoint, ignore
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.activations import ConsumerInputs
from pruning_core.osscar.layer import narrow
from pruning_core.osscar.probe import NO_PROBE, SHARE_OF_JOB, ProbePlan, plan_probe
from pruning_core.osscar.width import prune_width, width_cost
from pruning_core.progress import CostModel, Meter
from pruning_core.result import TextUsed
from pruning_core.streaming import ResidentModel
from tests.pruning_core.conftest import Load, transformers_loss

KEEP = 128


def prune(model: ResidentModel, windows: Tensor, meter: Meter, **changes: object) -> list[LayerPruned]:
    arguments = {"probe_windows": windows, "probe": NO_PROBE, "on_event": ignore} | changes
    return prune_width(model, windows, keep=KEEP, damping=0.01, meter=meter, **arguments)  # type: ignore[arg-type]


def inputs_of(module: torch.nn.Module, model: ResidentModel, windows: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.model(input_ids=windows)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("held", [True, False])
def test_each_layer_is_solved_on_what_the_pruned_layers_before_it_give(
    load: Load, windows: Tensor, meter: Meter, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(budgets, "ACTIVATION_CACHE_BYTES", 0)
    model, oracle = load(), load()
    pruned = prune(model, windows, meter)
    # The oracle forwards the whole model once per layer and looks at nothing but that layer's inputs.
    for index, layer in enumerate(oracle.model.model.layers):
        seen = inputs_of(layer.mlp.down_proj, oracle, windows).flatten(0, 1).double()
        channels = MlpChannels(layer, oracle.family.mlp)
        expected = narrow(seen.T @ seen, channels.consumer_weight(), KEEP, 0.01)
        channels.narrow(expected.kept, expected.weight)
        assert pruned[index].error == pytest.approx(expected.error, rel=1e-4)
        actual = model.model.model.layers[index].mlp
        assert torch.allclose(actual.down_proj.weight, layer.mlp.down_proj.weight, rtol=1e-3, atol=1e-4)
        assert actual.up_proj.weight.equal(layer.mlp.up_proj.weight)


def test_config_and_modules_agree_on_the_new_width(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    prune(model, windows, meter)
    assert model.config.intermediate_size == KEEP
    for layer in model.model.model.layers:
        assert layer.mlp.gate_proj.weight.shape == (KEEP, 32)
        assert layer.mlp.down_proj.weight.shape == (32, KEEP)
        assert layer.mlp.down_proj.in_features == layer.mlp.up_proj.out_features == KEEP


def test_nothing_listens_to_the_model_afterwards(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    prune(model, windows, meter)
    assert not any(module._forward_pre_hooks for module in model.model.modules())


def test_the_gram_matrix_adds_up_what_float32_would_lose() -> None:
    consumer = torch.nn.Linear(2, 1)
    inputs = ConsumerInputs(consumer, hold=False)
    consumer(torch.full((1, 2), 4096.0))
    for _ in range(1000):
        consumer(torch.full((1, 2), 1.0))
    inputs.detach()
    assert inputs.gram[0, 1].item() == 4096.0**2 + 1000


def test_activations_that_are_not_finite_name_the_layer(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    with torch.no_grad():
        model.model.model.layers[2].mlp.up_proj.weight.fill_(torch.inf)
    with pytest.raises(BrokenModelError, match="decoder layer 2"):
        prune(model, windows, meter)


def test_progress_points_are_the_perplexity_of_the_partly_pruned_model(
    load: Load, windows: Tensor, meter: Meter
) -> None:
    events: list[Event] = []
    probe = ProbePlan(windows=2, after_layers=frozenset({0, 2}), cost=0.0)
    prune(load(), windows, meter, probe=probe, on_event=events.append)
    points = [event for event in events if isinstance(event, PerplexityPoint)]
    assert [(point.layer, point.windows) for point in points] == [(0, 2), (2, 2)]

    # Half a pruning by hand: the first two layers of a pruned model in front of the dense rest.
    dense, donor = load(), load()
    prune(donor, windows, meter)
    for index in range(2):
        dense.model.model.layers[index] = donor.model.model.layers[index]
    expected = [load().model, dense.model]
    for point, model in zip(points, expected, strict=True):
        assert point.perplexity == pytest.approx(math.exp(transformers_loss(model, windows[:2])), rel=1e-4)


@pytest.mark.parametrize("calibration_tokens", [512, 8192, 262144])
@pytest.mark.parametrize("evaluation_windows", [1, 4, 148])
def test_progress_points_cost_at_most_their_share(calibration_tokens: int, evaluation_windows: int) -> None:
    costs = CostModel(head=8.0, gram=0.7, change=0.25, solve=6000.0)
    evaluation = TextUsed(dataset="any", sha256="", windows=evaluation_windows, sequence_length=1024)
    job = width_cost(30, calibration_tokens, costs) + evaluation_windows * 1024 * (60 + 16)
    plan = plan_probe(30, evaluation, costs, job)
    assert plan.cost <= SHARE_OF_JOB * job
    behind = sum(30 - after + costs.head for after in plan.after_layers)
    assert plan.cost == pytest.approx(plan.windows * 1024 * (30 * bool(plan.windows) + behind))


def test_each_layer_runs_once_over_the_calibration_text(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    runs: list[int] = []
    for index, layer in enumerate(model._layers):
        layer.register_forward_hook(lambda *_, index=index: runs.append(index))
    prune(model, windows, meter)
    # Once to embed, where the layers only tell what they are called with, and once for each.
    assert sorted(runs) == sorted([*range(4), *range(4)])


def test_the_work_is_what_was_announced(load: Load, windows: Tensor) -> None:
    costs = CostModel(head=3.0, gram=0.5, change=0.25, solve=100.0)
    meter = Meter(costs, 1.0, ignore)
    prune(load(), windows, meter)
    assert meter._done == pytest.approx(width_cost(4, windows.numel(), costs))
