"""The closed-form repair behind a cut, against least squares on whole-model forwards."""

import copy

import pytest
import torch
from torch import Tensor

from pruning_core import budgets
from pruning_core.depth.cuts import Cut
from pruning_core.depth.heal import Heal, heal, heal_cost, plan_heal
from pruning_core.depth.removal import remove_layers
from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthOptions
from tests.pruning_core.conftest import ON_DEVICE, Load, transformers_loss

PLAIN = DepthOptions(producer_steps=0, refit_damping=0.01, heal="boundary")


def healed(
    model: ResidentModel, cut: Cut, windows: Tensor, meter: Meter, options: DepthOptions, keep: bool = True
) -> float:
    loss, _ = heal(
        model,
        cut,
        windows,
        follower=windows[:2],
        options=options,
        shelf=ON_DEVICE,
        keep=keep,
        meter=meter,
    )
    return loss


def hidden_behind(model: ResidentModel, windows: Tensor, layer: int) -> Tensor:
    """What a decoder layer gives."""
    seen: list[Tensor] = []
    hook = model._layers[layer].register_forward_hook(
        lambda _, __, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        model.model(input_ids=windows, use_cache=False)
    hook.remove()
    return seen[0]


def without(model: ResidentModel, cut: Cut) -> ResidentModel:
    other = copy.deepcopy(model)
    remove_layers(other, cut)
    return other


@pytest.mark.parametrize(
    ("cut", "heal", "expected"),
    [
        ((1, 2), "boundary", [(0, range(3), True)]),
        ((1, 2), "all", [(0, range(3), True), (3, range(3, 4), True)]),
        ((2, 3), "boundary", [(0, range(0), False), (1, range(1, 4), True)]),
        ((2, 3), "all", [(0, range(0), False), (1, range(1, 4), True)]),
        ((0,), "boundary", [(1, range(2), True)]),
        ((0,), "all", [(1, range(2), True), (2, range(2, 3), True), (3, range(3, 4), True)]),
        ((1, 3), "boundary", [(0, range(2), True), (2, range(2, 4), True)]),
        ((0, 2), "boundary", [(1, range(3), True)]),
        ((1, 2), "none", []),
    ],
)
def test_the_layers_around_the_cut_are_healed(
    cut: Cut, heal: Heal, expected: list[tuple[int, range, bool]]
) -> None:
    assert [(step.layer, step.followed, step.healed) for step in plan_heal(4, cut, heal)] == expected


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("cut", [(1,), (1, 2), (2, 3)])
def test_the_layer_before_the_cut_is_ridge_regression_towards_the_dense_hidden_states(
    load: Load, windows: Tensor, meter: Meter, cut: Cut, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(budgets, "ACTIVATION_CACHE_BYTES", 0)
    model, dense = load(), load()
    healed(model, cut, windows, meter, PLAIN)
    boundary = cut[0] - 1
    seen: list[Tensor] = []
    consumer = dense._layers[boundary].mlp.down_proj
    hook = consumer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, 1)))
    wanted = hidden_behind(dense, windows, cut[-1]) - hidden_behind(dense, windows, boundary)
    hook.remove()
    activations, missing = seen[0].double(), wanted.flatten(0, 1).double()
    gram = activations.T @ activations
    ridge = 0.01 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    change = torch.linalg.solve(gram + ridge, activations.T @ missing)
    actual = model._layers[boundary].mlp.down_proj.weight.detach().double().T
    assert torch.allclose(actual, consumer.weight.detach().double().T + change, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cut", [(0,), (0, 1), (1,), (1, 2), (2, 3), (3,), (0, 2), (1, 3)])
@pytest.mark.parametrize("mode", ["boundary", "all"])
@pytest.mark.parametrize("options", [PLAIN, DepthOptions()])
def test_the_hidden_states_end_nearer_to_the_dense_models(
    load: Load, windows: Tensor, meter: Meter, cut: Cut, mode: Heal, options: DepthOptions
) -> None:
    model, dense = load(), load()
    healed(model, cut, windows, meter, options.model_copy(update={"heal": mode}))
    wanted = hidden_behind(dense, windows, 3)
    last = 3 - len(cut)
    plain, better = (
        (hidden_behind(without(which, cut), windows, last) - wanted).square().sum()
        for which in (dense, model)
    )
    assert better < plain


def test_healing_every_later_layer_comes_nearer_than_the_boundary_alone(
    load: Load, windows: Tensor, meter: Meter
) -> None:
    wanted = hidden_behind(load(), windows, 3)
    missed = {}
    for mode in ("boundary", "all"):
        model = load()
        healed(model, (1,), windows, meter, PLAIN.model_copy(update={"heal": mode}))
        missed[mode] = (hidden_behind(without(model, (1,)), windows, 2) - wanted).square().sum()
    assert missed["all"] < missed["boundary"]


@pytest.mark.parametrize("cut", [(0,), (1, 2), (3,), (1, 3)])
@pytest.mark.parametrize("keep", [True, False])
def test_the_loss_it_tells_is_that_of_the_healed_model(
    load: Load, windows: Tensor, meter: Meter, cut: Cut, keep: bool
) -> None:
    model, kept = load(), load()
    before = copy.deepcopy(model.model.state_dict())
    options = DepthOptions()
    loss = healed(model, cut, windows, meter, options, keep=keep)
    healed(kept, cut, windows, meter, options)
    assert loss == pytest.approx(transformers_loss(without(kept, cut).model, windows[:2]), rel=1e-5)
    if not keep:
        for name, tensor in model.model.state_dict().items():
            assert tensor.equal(before[name]), name


@pytest.mark.parametrize("cut", [(0,), (1, 2), (3,), (1, 3)])
@pytest.mark.parametrize("mode", ["none", "boundary", "all"])
@pytest.mark.parametrize("steps", [0, 2])
def test_the_work_is_what_was_announced(
    load: Load, windows: Tensor, cut: Cut, mode: Heal, steps: int
) -> None:
    costs = CostModel(head=3.0, gram=0.5, change=0.25, solve=100.0, fit=2.0, fit_tokens=100)
    options = DepthOptions(heal=mode, producer_steps=steps)
    meter = Meter(costs, 1e12, ignore)
    healed(load(), cut, windows, meter, options)
    announced = heal_cost(
        4, cut, tokens=windows.numel(), follower_tokens=windows[:2].numel(), options=options, costs=costs
    )
    assert meter._done == pytest.approx(announced)
