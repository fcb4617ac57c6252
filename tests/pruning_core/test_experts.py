"""Width pruning of mixtures of experts."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from pruning_core.events import LayerPruned, ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.models.registry import describe
from pruning_core.osscar.probe import NO_PROBE
from pruning_core.osscar.width import prune_width, width_cost
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import OsscarOptions
from pruning_core.repair.regression import damp, ridge
from tests.pruning_core.conftest import ON_DEVICE, resident
from tests.pruning_core.oracles import downdate_one_at_a_time
from tests.tiny_models import make_tiny

EXPERTS, KEEP, DAMPING = 4, 128, 0.01
PAPER = OsscarOptions(
    damping=DAMPING, refit_damping=DAMPING, drift_correction=0, vocabulary_share=0, producer_steps=0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("mixtral", tmp_path_factory.mktemp("mixtral"))


@pytest.fixture
def dense(folder: Path) -> ResidentModel:
    return resident(AutoModelForCausalLM.from_pretrained(folder))


def prune(
    model: ResidentModel, windows: Tensor, meter: Meter, options: OsscarOptions = PAPER
) -> list[LayerPruned]:
    return prune_width(
        model,
        windows,
        keep=KEEP,
        options=options,
        shelf=ON_DEVICE,
        probe_windows=windows,
        probe=NO_PROBE,
        meter=meter,
        on_event=ignore,
    )


def hear(model: ResidentModel, layer: int, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a layer's experts get: tokens, the experts each goes to, and their weights."""
    heard: list[tuple[Tensor, Tensor, Tensor]] = []
    experts = model._layers[layer].mlp.experts
    hook = experts.register_forward_pre_hook(lambda _, given: heard.append(given))
    with torch.no_grad():
        model.model(input_ids=windows)
    hook.remove()
    return heard[0]


def activations(gate_up: Tensor, inputs: Tensor) -> Tensor:
    gate, up = (inputs.double() @ gate_up.double().T).chunk(2, dim=1)
    return functional.silu(gate) * up


def routed(model: ResidentModel, expert: int, windows: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of the first layer that go to an expert, and what its output is multiplied with."""
    inputs, chosen, weights = hear(model, 0, windows)
    rows, places = torch.where(chosen == expert)
    return inputs[rows], weights[rows, places, None].double()


@pytest.mark.parametrize("expert", range(EXPERTS))
def test_each_expert_is_the_naive_solution_on_the_tokens_that_the_router_sends_it(
    dense: ResidentModel, windows: Tensor, meter: Meter, expert: int
) -> None:
    inputs, scale = routed(dense, expert, windows)
    before = copy.deepcopy(dense._layers[0].mlp.experts)
    prune(dense, windows, meter)
    given = activations(before.gate_up_proj[expert], inputs) * scale
    expect_naive(before, dense._layers[0].mlp.experts, expert, given)


def expect_naive(before: Any, after: Any, expert: int, given: Tensor) -> None:
    """Compare an expert with the one that is found one removal at a time on these activations."""
    weight = before.down_proj[expert].double().T
    gram = given.T @ given
    hessian, targets = damp(gram, DAMPING), gram @ weight + ridge(gram, DAMPING) * weight
    kept = downdate_one_at_a_time(hessian, weight, KEEP)
    solved = torch.linalg.solve(hessian[kept][:, kept], targets[kept])
    gate, up = before.gate_up_proj[expert].chunk(2)
    assert after.gate_up_proj[expert].equal(torch.cat([gate[kept], up[kept]]))
    assert torch.allclose(after.down_proj[expert].double(), solved.T, rtol=1e-3, atol=1e-4)


def test_drift_is_repaired_by_the_experts_together(
    dense: ResidentModel, windows: Tensor, meter: Meter
) -> None:
    """Of the same pruned first layer, the second gives less error against the dense model when it repairs."""
    plain, repairing = copy.deepcopy(dense), copy.deepcopy(dense)
    prune(plain, windows, meter)
    prune(repairing, windows, meter, PAPER.model_copy(update={"drift_correction": 1.0}))

    def hidden(model: ResidentModel) -> Tensor:
        with torch.no_grad():
            states: Tensor = model.model(input_ids=windows, output_hidden_states=True).hidden_states[2]
        return states

    errors = [(hidden(model) - hidden(dense)).norm() for model in (plain, repairing)]
    assert errors[1] < 0.9 * errors[0]


def test_the_router_stays_and_all_experts_are_of_one_width(
    dense: ResidentModel, windows: Tensor, meter: Meter
) -> None:
    routers = [layer.mlp.gate.weight.clone() for layer in dense._layers]
    prune(dense, windows, meter, OsscarOptions())
    for layer, router in zip(dense._layers, routers, strict=True):
        assert layer.mlp.gate.weight.equal(router)
        assert layer.mlp.experts.gate_up_proj.shape == (EXPERTS, 2 * KEEP, 32)
        assert layer.mlp.experts.down_proj.shape == (EXPERTS, 32, KEEP)
    assert dense.config.intermediate_size == KEEP


def test_an_expert_that_gets_too_few_tokens_is_narrowed_on_all_of_its_layers(
    dense: ResidentModel, windows: Tensor, meter: Meter
) -> None:
    inputs, chosen, _ = hear(dense, 0, windows[:1])
    counts = chosen.flatten().bincount(minlength=EXPERTS)
    expert = int(counts.argmin())
    assert counts[expert] < 32
    before = copy.deepcopy(dense._layers[0].mlp.experts)
    prune(dense, windows[:1], meter)
    expect_naive(
        before, dense._layers[0].mlp.experts, expert, activations(before.gate_up_proj[expert], inputs)
    )


def test_a_pruned_mixtral_is_saved_as_mixtral_is(
    dense: ResidentModel, folder: Path, windows: Tensor, meter: Meter, tmp_path: Path
) -> None:
    prune(dense, windows, meter)
    dense.model.save_pretrained(tmp_path)
    stored, before = (load_file(path / "model.safetensors") for path in (tmp_path, folder))
    assert stored.keys() == before.keys()
    for name, shape in (("w1", (KEEP, 32)), ("w2", (32, KEEP)), ("w3", (KEEP, 32))):
        expert = next(key for key in stored if key.endswith(f"experts.3.{name}.weight"))
        assert stored[expert].shape == shape


@pytest.mark.parametrize("options", [PAPER, OsscarOptions()])
def test_the_work_is_what_was_announced(
    dense: ResidentModel, folder: Path, windows: Tensor, options: OsscarOptions
) -> None:
    config = json.loads((folder / "config.json").read_text())
    costs = CostModel.of(*describe(config, "mixtral"))
    meter = Meter(costs, 1.0, ignore)
    prune(dense, windows, meter, options)
    assert meter._done == pytest.approx(width_cost(4, windows.numel(), options, costs), rel=0.05)
