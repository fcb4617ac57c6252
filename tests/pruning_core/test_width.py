"""OSSCAR over a whole model."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from pruning_core import budgets
from pruning_core.budgets import Placement
from pruning_core.errors import BrokenModelError
from pruning_core.events import Event, LayerPruned, OnEvent, PerplexityPoint, ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.layer import narrow
from pruning_core.osscar.probe import NO_PROBE, SHARE_OF_JOB, ProbePlan, plan_probe
from pruning_core.osscar.width import prune_width, width_cost
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import OsscarOptions
from pruning_core.repair import visitors
from pruning_core.repair.moments import MomentSums
from pruning_core.result import TextUsed
from pruning_core.shelf import Shelf
from tests.pruning_core.conftest import ON_DEVICE, Load, resident, transformers_loss
from tests.tiny_models import SIZES

KEEP = 128


PAPER = OsscarOptions(drift_correction=0.0, damping=0.01, refit_damping=0.01, producer_steps=0)


def prune(
    model: ResidentModel,
    windows: Tensor,
    meter: Meter,
    options: OsscarOptions = PAPER,
    probe: ProbePlan = NO_PROBE,
    on_event: OnEvent = ignore,
    shelf: Shelf = ON_DEVICE,
) -> list[LayerPruned]:
    return prune_width(
        model,
        windows,
        keep=KEEP,
        options=options,
        shelf=shelf,
        probe_windows=windows,
        probe=probe,
        meter=meter,
        on_event=on_event,
    )


def inputs_of(module: torch.nn.Module, model: ResidentModel, windows: Tensor) -> Tensor:
    return seen_by(module, model, windows)[0]


def seen_by(module: torch.nn.Module, model: ResidentModel, windows: Tensor) -> tuple[Tensor, Tensor]:
    """What a module gets and gives when the model reads the windows."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model.model(input_ids=windows)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("drift_correction", [0.0, 0.5, 1.0])
def test_each_layer_is_solved_on_what_the_pruned_layers_before_it_give(
    load: Load,
    windows: Tensor,
    meter: Meter,
    held: bool,
    drift_correction: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not held:
        monkeypatch.setattr(budgets, "ACTIVATION_CACHE_BYTES", 0)
    options = PAPER.model_copy(update={"drift_correction": drift_correction})
    model, oracle, dense = load(), load(), load()
    pruned = prune(model, windows, meter, options)
    # The oracle forwards whole models once per layer and looks at nothing but that layer.
    for index, layer in enumerate(oracle.model.model.layers):
        activations, own = seen_by(layer.mlp.down_proj, oracle, windows)
        _, now = seen_by(layer, oracle, windows)
        _, wanted = seen_by(dense.model.model.layers[index], dense, windows)
        sums = MomentSums(activations.shape[-1], own.shape[-1], activations.device)
        target = own + drift_correction * (wanted - now)
        sums.add(activations.flatten(0, 1), target.flatten(0, 1))
        channels = MlpChannels(layer, oracle.family.mlp)
        weight = channels.consumer_weight()
        expected = narrow(sums.total(weight), weight, keep=KEEP, damping=0.01, refit_dampings=[0.01])
        channels.narrow(expected.kept)
        channels.refit(expected.refit.weight, None)
        assert pruned[index].error == pytest.approx(expected.refit.error, rel=1e-4)
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
    for module in model.model.modules():
        assert not module._forward_pre_hooks
        assert "forward" not in vars(module)


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
    costs = CostModel(head=8.0, gram=0.7, change=0.25, solve=6000.0, fit=2.0, fit_tokens=10_000)
    evaluation = TextUsed(dataset="any", sha256="", windows=evaluation_windows, sequence_length=1024)
    job = width_cost(30, calibration_tokens, PAPER, costs) + evaluation_windows * 1024 * (60 + 16)
    plan = plan_probe(30, evaluation, costs, job)
    assert plan.cost <= SHARE_OF_JOB * job
    behind = sum(30 - after + costs.head for after in plan.after_layers)
    assert plan.cost == pytest.approx(plan.windows * 1024 * (30 * bool(plan.windows) + behind))


@pytest.mark.parametrize(("drift_correction", "runs_each"), [(0.0, 1), (0.5, 2)])
def test_each_layer_runs_once_for_each_stream(
    load: Load, windows: Tensor, meter: Meter, drift_correction: float, runs_each: int
) -> None:
    model = load()
    runs: list[int] = []
    for index, layer in enumerate(model._layers):
        layer.register_forward_hook(lambda *_, index=index: runs.append(index))
    options = OsscarOptions(drift_correction=drift_correction, refit_damping=0.01)
    prune(model, windows, meter, options)
    # And once to embed, where the layers only tell what they are called with.
    assert sorted(runs) == sorted([*range(4)] * (1 + runs_each))


@pytest.mark.parametrize("options", [PAPER, OsscarOptions(), OsscarOptions(attention_refit=True)])
def test_the_work_is_what_was_announced(load: Load, windows: Tensor, options: OsscarOptions) -> None:
    costs = CostModel(head=3.0, gram=0.5, change=0.25, solve=100.0, fit=2.0, fit_tokens=100)
    meter = Meter(costs, 1.0, ignore)
    prune(load(), windows, meter, options)
    assert meter._done == pytest.approx(width_cost(4, windows.numel(), options, costs))


def test_fitted_producers_bring_each_layer_closer_to_its_target(
    load: Load, windows: Tensor, meter: Meter
) -> None:
    plain, fitted = load(), load()
    # Later layers have other targets: what goes into them has changed.
    before, after = (
        prune(model, windows, meter, PAPER.model_copy(update={"producer_steps": steps}))[0]
        for model, steps in ((plain, 0), (fitted, 3))
    )
    assert after.error < 0.9 * before.error
    for name in ("gate_proj", "up_proj"):
        was, now = (getattr(model.model.model.layers[0].mlp, name).weight for model in (plain, fitted))
        assert was.shape == now.shape
        assert not was.equal(now)


@pytest.mark.parametrize("held", [True, False])
def test_a_fit_that_does_worse_on_other_windows_is_undone(
    load: Load, windows: Tensor, meter: Meter, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(budgets, "ACTIVATION_CACHE_BYTES", 0)

    def spoil(channels: MlpChannels, *_: object, **__: object) -> None:
        channels.write_producers([torch.randn_like(matrix) for matrix in channels.read_producers()])

    monkeypatch.setattr(visitors, "fit_producers", spoil)
    plain, spoiled = load(), load()
    options = OsscarOptions(producer_steps=0)
    prune(plain, windows, meter, options)
    prune(spoiled, windows, meter, OsscarOptions())
    for (name, expected), actual in zip(
        plain.model.named_parameters(), spoiled.model.parameters(), strict=True
    ):
        assert torch.allclose(expected, actual, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("options", [PAPER, OsscarOptions(), PAPER.model_copy(update={"producer_steps": 2})])
def test_it_gives_the_same_whether_activations_are_held_or_not(
    load: Load, windows: Tensor, meter: Meter, options: OsscarOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, computed_again = load(), load()
    prune(held, windows, meter, options)
    monkeypatch.setattr(budgets, "ACTIVATION_CACHE_BYTES", 0)
    prune(computed_again, windows, meter, options)
    for (name, expected), actual in zip(
        held.model.named_parameters(), computed_again.model.parameters(), strict=True
    ):
        assert torch.allclose(expected, actual, rtol=1e-3, atol=1e-4), name


def test_the_attention_refit_repairs_drift_as_well(load: Load, windows: Tensor, meter: Meter) -> None:
    """Compared behind the second layer, in front of whose attention there is drift for the first time."""
    dense, plain, refitted = load(), load(), load()
    options = PAPER.model_copy(update={"drift_correction": 1.0})
    prune(plain, windows, meter, options)
    prune(refitted, windows, meter, options.model_copy(update={"attention_refit": True}))
    _, wanted = seen_by(dense.model.model.layers[1], dense, windows)
    errors = [
        (seen_by(model.model.model.layers[1], model, windows)[1] - wanted).norm()
        for model in (plain, refitted)
    ]
    assert errors[1] < errors[0]
    first, second = (refitted.model.model.layers[index].self_attn.o_proj.weight for index in (0, 1))
    assert torch.allclose(first, dense.model.model.layers[0].self_attn.o_proj.weight, atol=1e-5)
    assert not torch.allclose(second, dense.model.model.layers[1].self_attn.o_proj.weight, atol=1e-3)


def test_a_consumers_bias_is_refitted_so_that_the_mean_output_stays(windows: Tensor, meter: Meter) -> None:
    config = LlamaConfig(**SIZES | {"mlp_bias": True})
    torch.manual_seed(0)
    dense = resident(LlamaForCausalLM(config))
    with torch.no_grad():
        for layer in dense.model.model.layers:
            for module in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj):
                module.weight.normal_(std=0.3)
                module.bias.normal_()
    model = copy.deepcopy(dense)
    prune(model, windows, meter)
    (_, before), (_, after) = (
        seen_by(which.model.model.layers[0].mlp, which, windows) for which in (dense, model)
    )
    assert torch.allclose(after.mean((0, 1)), before.mean((0, 1)), atol=1e-4)
    assert not model.model.model.layers[0].mlp.down_proj.bias.equal(
        dense.model.model.layers[0].mlp.down_proj.bias
    )
    assert model.model.model.layers[0].mlp.gate_proj.bias.shape == (KEEP,)


@pytest.mark.parametrize("options", [PAPER, OsscarOptions()])
@pytest.mark.parametrize("placement", ["host", "disk"])
def test_it_gives_the_same_wherever_hidden_states_rest(
    load: Load, windows: Tensor, meter: Meter, options: OsscarOptions, placement: Placement, tmp_path: Path
) -> None:
    device, elsewhere = load(), load()
    prune(device, windows, meter, options)
    prune(elsewhere, windows, meter, options, shelf=Shelf(placement, torch.device("cpu"), tmp_path))
    for (name, expected), actual in zip(
        device.model.named_parameters(), elsewhere.model.parameters(), strict=True
    ):
        assert torch.allclose(expected, actual, rtol=1e-3, atol=1e-4), name
    assert list(tmp_path.iterdir()) == []
