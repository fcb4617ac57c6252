"""What every family must keep to: a new description is one more entry in `tests.tiny_models.VARIANTS`.

Of the families known by their tensor-parallel plans some are tested in every run, all by `pytest --every-family`.
"""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from pruning_core import PruneResult, Recipe, parse_recipe, prune
from pruning_core.checkpoint import save as save_checkpoint
from pruning_core.depth.cuts import consecutive_cuts
from pruning_core.depth.removal import remove_layers
from pruning_core.depth.sweep import score_cuts
from pruning_core.events import CandidateScored, LayerPruned
from pruning_core.layered_model import LayeredModel, ResidentModel
from pruning_core.models.layer_mlp import LayerMlp, mlp_of
from pruning_core.models.registry import (
    describe,
    described_model_types,
    planned_model_types,
    planned_table,
    table,
)
from pruning_core.perplexity import mean_loss
from pruning_core.progress import Meter
from pruning_core.repair.regression import damp
from tests.fresh_process import run_fresh
from tests.pruning_core.conftest import ON_DEVICE, resident, transformers_loss
from tests.pruning_core.interruption import Interrupted, Interruption, require_same_files
from tests.pruning_core.oracles import downdate_one_at_a_time, objective, paper
from tests.pruning_core.residual_stream import require_attention, require_mlp
from tests.tiny_models import VARIANTS, make_tiny

PLANNED_IN_EVERY_RUN = ("cohere2",)
"""Of the families known by their plans, one with lists per layer; `--every-family` runs all."""

STREAMED_IN_EVERY_RUN = ("llama", "mixtral", "gpt2", "gemma2", "opt")
"""Plain; experts that are put together while they are read; Conv1D and names without a prefix; norms; biases."""


def families_of_this_run(config: pytest.Config) -> list[str]:
    named: str | None = config.getoption("families")
    if named:
        return named.split(",")
    planned = planned_model_types() if config.getoption("every_family") else PLANNED_IN_EVERY_RUN
    # An older transformers may lack some.
    return [*VARIANTS, *(name for name in planned if name in CONFIG_MAPPING)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "streamed_type" in metafunc.fixturenames:
        everything = metafunc.config.getoption("every_family") or metafunc.config.getoption("families")
        wanted = families_of_this_run(metafunc.config) if everything else STREAMED_IN_EVERY_RUN
        metafunc.parametrize("streamed_type", wanted)
    for name in {"checkpoint", "model_type"} & set(metafunc.fixturenames):
        model_types = families_of_this_run(metafunc.config)
        metafunc.parametrize(name, model_types, indirect=name == "checkpoint", scope="module")


@pytest.fixture(scope="module")
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def model(checkpoint: Path) -> ResidentModel:
    return resident(AutoModelForCausalLM.from_pretrained(checkpoint))


def test_every_family_is_tested_here() -> None:
    assert set(VARIANTS) == set(described_model_types())


def test_the_page_shows_the_table_of_the_registry() -> None:
    page = Path(__file__).parents[2] / "docs" / "families.md"
    assert table() in page.read_text()
    assert planned_table() in page.read_text()


def test_the_loss_is_transformers_own(model: ResidentModel, windows: Tensor, meter: Meter) -> None:
    assert mean_loss(model, windows, meter, ON_DEVICE) == pytest.approx(
        transformers_loss(model.model, windows), rel=1e-5
    )


def narrowable(model: ResidentModel) -> list[LayerMlp]:
    mlps = [mlp_of(layer, model.family, model.config) for layer in model._layers]
    return [mlp for mlp in mlps if mlp.has_family_width]


def test_the_described_mlp_gives_what_the_layer_adds_to_the_residual_stream(
    model: ResidentModel, windows: Tensor
) -> None:
    require_mlp(model, windows)


@torch.no_grad()
def test_what_the_residual_stream_lacks_is_pulled_back_through_the_norm(
    model: ResidentModel, windows: Tensor
) -> None:
    stream = model.embed(windows)
    layer = model._layers[0]
    mlp = mlp_of(layer, model.family, model.config)
    with mlp.silenced() as heard:
        beside = stream.run(layer, 0)
    output = mlp.output(*heard)
    before = mlp.junction.add(beside, output)
    missing = 0.01 * torch.randn_like(before)
    more = mlp.junction.pull_back(missing.flatten(0, -2), output)
    gained = mlp.junction.add(beside, output + more) - before
    assert (gained - missing).norm() < 0.3 * missing.norm()


def test_the_described_attention_output_is_what_the_residual_stream_gets(
    model: ResidentModel, windows: Tensor
) -> None:
    require_attention(model, windows)


def test_the_roles_are_those_of_the_tensor_parallel_plan(model: ResidentModel) -> None:
    plan = model.config.base_model_tp_plan or {}
    styles = {name.removeprefix("layers.*."): style for name, style in plan.items()}
    if model.family.experts is not None:
        assert styles[f"{model.family.experts.module}.gate_up_proj"] == "packed_colwise"
        assert styles[f"{model.family.experts.module}.down_proj"] == "rowwise"
        return
    roles = model.family.mlp
    if roles.consumer not in styles:
        # OPT, GPT-2 and Falcon have none.
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
    gone = [index for index in range(256) if index not in kept]
    for mlp in narrowable(narrow):
        for channels in mlp.parts:
            channels.narrow(indices)
        mlp.write()
    for mlp in narrowable(silent):
        for channels in mlp.parts:
            channels.consumer.weight[gone] = 0
    setattr(narrow.config, model.family.width_field, len(kept))
    with torch.no_grad():
        logits = [one.model(input_ids=windows).logits for one in (narrow, silent)]
    assert torch.allclose(*logits, rtol=1e-4, atol=1e-4)


def test_producers_are_written_as_they_were_read(model: ResidentModel) -> None:
    for layer in model._layers:
        before = copy.deepcopy(layer.state_dict())
        mlp = mlp_of(layer, model.family, model.config)
        for channels in mlp.parts:
            channels.write_producers(channels.read_producers())
        mlp.write()
        for name, tensor in layer.state_dict().items():
            assert tensor.equal(before[name]), name


@pytest.mark.parametrize("length", [1, 2])
def test_the_sweep_scores_cuts_as_forwards_of_the_cut_models_do(
    model: ResidentModel, windows: Tensor, meter: Meter, length: int
) -> None:
    cuts = consecutive_cuts(4, length)
    for cut, losses in zip(cuts, score_cuts(model, windows, cuts, meter, ON_DEVICE), strict=True):
        other = copy.deepcopy(model)
        remove_layers(other, cut)
        expected = [transformers_loss(other.model, window[None]) for window in windows]
        assert losses.mean(dim=1).tolist() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_a_model_without_its_first_layer_is_loaded_as_it_was(
    model: ResidentModel, windows: Tensor, tmp_path: Path
) -> None:
    """What goes by a layer's number or by their count, and is not in the config, would move."""
    remove_layers(model, [0])
    model.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    logits = [one(input_ids=windows).logits for one in (model.model, loaded)]
    assert torch.allclose(*logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_channels_that_stay_are_the_oracles_and_better_than_the_largest(
    model: ResidentModel, windows: Tensor
) -> None:
    """In the first narrowable layer, of every part: the same set as one removal at a time in float64."""
    keep, damping = 128, 0.01
    stream = model.embed(windows)
    for index, layer in enumerate(model._layers):
        mlp = mlp_of(layer, model.family, model.config)
        if mlp.has_family_width:
            break
        stream.hidden = stream.run(layer, index)
    with mlp.silenced() as heard:
        stream.run(layer, index)
    (once,) = heard
    for part, channels in enumerate(mlp.parts):
        given = mlp.given(part, once, routed=True)
        activations = channels.activations(given.inputs).double()
        if given.scale is not None:
            activations *= given.scale
        weight = channels.consumer_weight().double()
        gram = activations.T @ activations
        narrowed = paper(gram, weight, keep, damping)
        hessian = damp(gram, damping)
        assert narrowed.kept.tolist() == downdate_one_at_a_time(hessian, weight, keep)
        targets = hessian @ weight
        sizes = gram.diagonal().sqrt() * weight.norm(dim=1)
        largest = sizes.topk(keep).indices.sort().values
        found, other = (objective(hessian, targets, kept.tolist()) for kept in (narrowed.kept, largest))
        assert found <= other


METHODS = {"osscar": 0.5, "depth": 0.25}
PROMPT = torch.arange(1, 20)[None]
Pruned = Callable[[str, str], tuple[Path, PruneResult]]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    """A tiny model of a family pruned by a method, once; the logits that it had in memory lie beside its weights."""

    def save(
        model: LayeredModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *others: Any, **named: Any
    ) -> None:
        save_checkpoint(model, tokenizer, folder, *others, **named)
        with torch.no_grad():
            save_file({"logits": model.model(input_ids=PROMPT).logits}, folder.parent / "logits.safetensors")

    @cache
    def prune_once(model_type: str, method: str) -> tuple[Path, PruneResult]:
        folder = tmp_path_factory.mktemp(f"{model_type}-{method}")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("pruning_core.checkpoint.save", save)
            recipe = recipe_of(make_tiny(model_type, folder / "dense"), method)
            return folder / "out", prune(recipe, folder / "out")

    return prune_once


def recipe_of(dense: Path, method: str, **others: Any) -> Recipe:
    return parse_recipe(
        {
            "model": str(dense),
            "method": method,
            "ratio": METHODS[method],
            "calibration": {"dataset": "builtin", "samples": 16, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
            # So small that there are several files.
            "shard_size": "100KB",
            **others,
        }
    )


both_methods = pytest.mark.parametrize("method", list(METHODS))


@both_methods
def test_what_is_pruned_is_whole(pruned: Pruned, model_type: str, method: str) -> None:
    folder, result = pruned(model_type, method)
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert model.num_parameters() == result.parameters_after == result.plan.parameters_after
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    # The perplexities of random models mean nothing, but that each layer got nearer to its target does.
    errors = [one.error for one in (*result.layer_losses, *result.healed_layers)]
    assert errors
    assert all(0 <= error < 1 for error in errors)


@both_methods
def test_its_files_are_laid_out_like_those_of_the_dense_checkpoint(
    pruned: Pruned, model_type: str, method: str
) -> None:
    folder, _ = pruned(model_type, method)
    dense = folder.parent / "dense"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    stored = {}
    for shard in set(index["weight_map"].values()):
        stored |= dict.fromkeys(load_file(folder / shard), shard)
    assert index["weight_map"] == stored
    assert len(set(stored.values())) > 1
    before = load_file(dense / "model.safetensors")
    assert stored.keys() <= before.keys()
    assert method == "depth" or stored.keys() == before.keys()
    for one in (AutoTokenizer, GenerationConfig):
        kept, came = (one.from_pretrained(path) for path in (folder, dense))
        if one is GenerationConfig:
            assert kept.to_diff_dict() == came.to_diff_dict()
        else:
            assert kept.get_vocab() == came.get_vocab()
    config, was = (json.loads((path / "config.json").read_text()) for path in (folder, dense))
    differing = {name for name in config.keys() | was.keys() if config.get(name) != was.get(name)}
    family, _ = describe(was, model_type)
    cut = {family.width_field} if method == "osscar" else {family.depth_field, *family.per_layer_lists}
    if method == "depth":
        cut |= dict(family.without({**family.defaults, **was}, [0]) or {}).keys()
    assert differing - {"transformers_version"} <= cut


@both_methods
def test_what_is_pruned_generates_with_a_cache_and_behind_padding(
    pruned: Pruned, model_type: str, method: str
) -> None:
    folder, _ = pruned(model_type, method)
    model = AutoModelForCausalLM.from_pretrained(folder)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached, uncached = (model.generate(PROMPT, **options, use_cache=cache) for cache in (True, False))
    assert cached.equal(uncached)
    short = PROMPT[:, :11]
    padded = torch.cat([PROMPT, torch.cat([torch.zeros(1, 8, dtype=torch.long), short], dim=1)])
    batch = model.generate(padded, attention_mask=(padded != 0).long(), **options)
    assert batch[0].equal(cached[0])
    assert batch[1, 8:].equal(model.generate(short, **options)[0])


@both_methods
def test_layers_that_are_read_one_at_a_time_give_the_same_files(
    pruned: Pruned, streamed_type: str, method: str, tmp_path: Path
) -> None:
    folder, resident = pruned(streamed_type, method)
    streamed = prune(recipe_of(folder.parent / "dense", method, weights="streamed"), tmp_path / "out")
    assert (resident.memory_plan.weights, streamed.memory_plan.weights) == ("resident", "streamed")
    assert streamed.perplexity_after == resident.perplexity_after
    require_same_files(tmp_path / "out", folder)


# What differs between them is whether layers stay; a heal changes no sizes.
@pytest.mark.parametrize(
    ("method", "weights"), [("osscar", "resident"), ("osscar", "streamed"), ("depth", "resident")]
)
def test_a_job_that_is_begun_again_in_its_middle_gives_the_same_files(
    pruned: Pruned, streamed_type: str, method: str, weights: str, tmp_path: Path
) -> None:
    folder, undisturbed = pruned(streamed_type, method)
    recipe = recipe_of(folder.parent / "dense", method, weights=weights)
    # The second layer that is pruned, or the second candidate that was healed.
    interruption = Interruption(LayerPruned if method == "osscar" else CandidateScored, 2)
    with pytest.raises(Interrupted):
        prune(recipe, tmp_path / "out", work=tmp_path / "work", on_event=interruption)
    again = prune(recipe, tmp_path / "out", work=tmp_path / "work")
    assert again.perplexity_after == undisturbed.perplexity_after
    require_same_files(tmp_path / "out", folder)


def test_tied_weights_are_still_tied(pruned: Pruned, model_type: str) -> None:
    for method in METHODS:
        folder, _ = pruned(model_type, method)
        dense, model = (
            AutoModelForCausalLM.from_pretrained(path) for path in (folder.parent / "dense", folder)
        )
        tied = [
            one.get_input_embeddings().weight is one.get_output_embeddings().weight for one in (dense, model)
        ]
        assert tied[0] == tied[1] == dense.config.tie_word_embeddings


FRESH_PROCESS = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
prompt = torch.arange(1, 20)[None]
for folder in map(Path, sys.argv[1:]):
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(input_ids=prompt).logits
    expected = load_file(folder.parent / "logits.safetensors")["logits"]
    difference = (logits - expected).abs().max().item()
    # Most are equal to the last bit; where a product's operands lie in memory may change that.
    if not difference <= 1e-6:
        print(folder.parent.name, difference)
"""


def test_a_fresh_process_without_secateur_computes_the_logits_that_were_in_memory(
    pruned: Pruned, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model_types = families_of_this_run(request.config)
    folders = [str(pruned(model_type, method)[0]) for model_type in model_types for method in METHODS]
    assert run_fresh(FRESH_PROCESS, *folders, folder=tmp_path) == ""
