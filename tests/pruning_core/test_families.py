"""What every described family must keep to: a new one is one more entry in `tests.tiny_models.VARIANTS`."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from pruning_core import parse_recipe, prune
from pruning_core.depth.cuts import consecutive_cuts
from pruning_core.depth.removal import remove_layers
from pruning_core.depth.sweep import score_cuts
from pruning_core.models.mlp import MlpChannels
from pruning_core.models.registry import supported_model_types, table
from pruning_core.perplexity import mean_loss
from pruning_core.progress import Meter
from pruning_core.streaming import ResidentModel
from tests.pruning_core.conftest import resident, transformers_loss
from tests.tiny_models import VARIANTS, make_tiny


@pytest.fixture(scope="module", params=list(VARIANTS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def model(checkpoint: Path) -> ResidentModel:
    return resident(AutoModelForCausalLM.from_pretrained(checkpoint))


def test_every_family_is_tested_here() -> None:
    assert set(VARIANTS) == set(supported_model_types())


def test_the_page_shows_the_table_of_the_registry() -> None:
    page = Path(__file__).parents[2] / "docs" / "families.md"
    assert table() in page.read_text()


def test_the_loss_is_transformers_own(model: ResidentModel, windows: Tensor, meter: Meter) -> None:
    assert mean_loss(model, windows, meter) == pytest.approx(
        transformers_loss(model.model, windows), rel=1e-5
    )


def test_the_described_mlp_computes_what_its_consumer_gets(model: ResidentModel, windows: Tensor) -> None:
    for layer in model._layers:
        channels = MlpChannels(layer, model.family.mlp)
        seen: list[Tensor] = []

        def hear(_: nn.Module, given: tuple[Tensor], seen: list[Tensor] = seen) -> None:
            seen.append(given[0].flatten(0, -2))

        hooks = [
            module.register_forward_pre_hook(hear) for module in (channels.producers[0], channels.consumer)
        ]
        with torch.no_grad():
            model.model(input_ids=windows)
            got, sent = seen
            assert torch.allclose(channels.activations(got), sent, rtol=1e-5, atol=1e-5)
        for hook in hooks:
            hook.remove()


def test_the_roles_are_those_of_the_tensor_parallel_plan(model: ResidentModel) -> None:
    plan = model.config.base_model_tp_plan or {}
    styles = {name.removeprefix("layers.*."): style for name, style in plan.items()}
    roles = model.family.mlp
    if roles.consumer not in styles:
        # OPT has none.
        assert not any(name.startswith(("mlp", "fc")) for name in styles)
        return
    assert styles[roles.consumer].startswith("rowwise")
    # Fused producers are gathered, because a shard would hold more of the gate than of the up projection.
    assert all(styles[name].startswith(("colwise", "moe", "packed")) for name in roles.producers)


@pytest.mark.parametrize("kept", [[0, 3, 17, 200], list(range(0, 256, 2))])
def test_a_narrowed_mlp_is_the_dense_one_with_the_other_channels_silent(
    model: ResidentModel, windows: Tensor, kept: list[int]
) -> None:
    narrow, silent = copy.deepcopy(model), copy.deepcopy(model)
    indices = torch.tensor(kept)
    for layer in narrow._layers:
        MlpChannels(layer, model.family.mlp).narrow(indices)
    gone = [index for index in range(256) if index not in kept]
    for layer in silent._layers:
        with torch.no_grad():
            MlpChannels(layer, model.family.mlp).consumer.weight[:, gone] = 0
    setattr(narrow.config, model.family.width_field, len(kept))
    with torch.no_grad():
        logits = [one.model(input_ids=windows).logits for one in (narrow, silent)]
    assert torch.allclose(*logits, rtol=1e-4, atol=1e-4)


def test_producers_are_written_as_they_were_read(model: ResidentModel) -> None:
    for layer in model._layers:
        before = copy.deepcopy(layer.state_dict())
        channels = MlpChannels(layer, model.family.mlp)
        channels.write_producers(channels.read_producers())
        for name, tensor in layer.state_dict().items():
            assert tensor.equal(before[name]), name


@pytest.mark.parametrize("length", [1, 2])
def test_the_sweep_scores_cuts_as_forwards_of_the_cut_models_do(
    model: ResidentModel, windows: Tensor, meter: Meter, length: int
) -> None:
    cuts = consecutive_cuts(4, length)
    for cut, losses in zip(cuts, score_cuts(model, windows, cuts, meter), strict=True):
        other = copy.deepcopy(model)
        remove_layers(other, cut)
        expected = [transformers_loss(other.model, window[None]) for window in windows]
        assert losses.mean(dim=1).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("method", "ratio"), [("osscar", 0.5), ("depth", 0.25)])
def test_what_is_pruned_loads_plainly_and_generates_with_a_cache(
    checkpoint: Path, tmp_path: Path, method: str, ratio: float
) -> None:
    recipe = parse_recipe(
        {
            "model": str(checkpoint),
            "method": method,
            "ratio": ratio,
            "calibration": {"dataset": "builtin", "samples": 16, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        }
    )
    result = prune(recipe, tmp_path / "out")
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert again.num_parameters() == result.parameters_after == result.plan.parameters_after
    # The perplexities of random models mean nothing, but that each layer got nearer to its target does.
    errors = [one.error for one in (*result.layer_losses, *result.healed_layers)]
    assert errors
    assert all(0 <= error < 1 for error in errors)
    tokens = torch.arange(1, 20)[None]
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached, uncached = (again.generate(tokens, **options, use_cache=cache) for cache in (True, False))
    assert cached.equal(uncached)
