"""Models that bring code of their own, converted to what transformers has, without running any of it."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from pruning_core import checkpoint, prune
from pruning_core.errors import PickledWeightsError, UnreadableModelError, UntrustedCodeError
from pruning_core.evaluation import evaluate
from pruning_core.layered_model import LayeredModel
from pruning_core.model_source import ModelSource
from pruning_core.recipe import EvaluationText, ModelReference, RemoteCode
from pruning_core.subject import find_subject
from pruning_core.twins.registry import table
from tests.pruning_core.conftest import resident, transformers_loss
from tests.pruning_core.published_recipes import load_elsewhere, recipe, trust
from tests.tiny_published import make_published, mark_import, random_windows

CPU = torch.device("cpu")
NATIVE = {"chatglm": "GlmForCausalLM", "deepseek": "Qwen2MoeForCausalLM"}
TOLERANCE = 5e-5
"""Of logits that are a few units apart, in float32."""

CUTS = [("chatglm", "osscar"), ("chatglm", "depth"), ("deepseek", "osscar"), ("deepseek", "depth")]


@pytest.fixture(scope="module", params=list(NATIVE))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_published(request.param, tmp_path_factory.mktemp("published") / request.param)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The repository, to be changed."""
    return shutil.copytree(folder, tmp_path / folder.name)


def test_the_page_shows_the_table_of_the_registry() -> None:
    page = Path(__file__).parents[2] / "docs" / "families.md"
    assert table() in page.read_text()


def native(folder: Path) -> ModelSource:
    return find_subject(ModelReference(id=str(folder)), "native", roots=None).source


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=random_windows(4, 100)).logits.double()


def test_the_twin_gives_the_logits_of_the_published_code(folder: Path) -> None:
    published = logits(AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True))
    twin = logits(checkpoint.load_model(native(folder), "auto", CPU))
    # ChatGLM's agree to the bit; of experts, the outputs of one token are added up in another order.
    tolerance = 0 if folder.name == "chatglm" else TOLERANCE
    assert published.std() > 0.5
    assert (published - twin).abs().max() <= tolerance


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("chatglm", {"multi_query_group_num": 1, "kv_channels": 16, "layernorm_epsilon": 1e-3}),
        ("deepseek", {"norm_topk_prob": True}),
        ("deepseek", {"norm_topk_prob": True, "num_experts_per_tok": 1}),
        ("deepseek", {"first_k_dense_replace": 2, "n_shared_experts": 1, "num_key_value_heads": 2}),
        ("deepseek", {"first_k_dense_replace": 0, "moe_layer_freq": 2}),
    ],
)
def test_so_it_does_for_other_configs(tmp_path: Path, model_type: str, changes: dict[str, Any]) -> None:
    folder = make_published(model_type, tmp_path / "model", **changes)
    published = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    twin = checkpoint.load_model(native(folder), "auto", CPU)
    assert (logits(published) - logits(twin)).abs().max() <= TOLERANCE
    assert checkpoint.count_parameters(native(folder), twin) == published.num_parameters()


def test_the_published_code_is_never_imported(copy: Path) -> None:
    marker = mark_import(copy)
    checkpoint.load_model(native(copy), "auto", CPU)
    checkpoint.load_tokenizer(native(copy))
    assert not marker.exists()
    AutoModelForCausalLM.from_pretrained(copy, trust_remote_code=True)
    assert marker.exists()


def test_the_perplexity_is_the_published_models(folder: Path) -> None:
    text = EvaluationText(dataset="builtin", sequence_length=64, samples=2)
    measured = evaluate(ModelReference(id=str(folder)), text)
    assert measured.parameters == (143_904 if folder.name == "chatglm" else 179_040)
    twin = checkpoint.load_model(native(folder), "auto", CPU)
    windows = random_windows(2, 64)
    published = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    assert transformers_loss(twin, windows) == pytest.approx(transformers_loss(published, windows), rel=1e-6)


@pytest.mark.parametrize(("model_type", "method"), CUTS)
def test_what_is_pruned_is_a_plain_checkpoint_of_the_native_family(
    tmp_path: Path, model_type: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough to be narrowed.
    wide = {"moe_intermediate_size": 256} if (model_type, method) == ("deepseek", "osscar") else {}
    folder = make_published(model_type, tmp_path / "model", **wide)
    marker = mark_import(folder)
    saved = seen_when_saved(monkeypatch)
    result = prune(recipe(folder, method), tmp_path / "out")
    assert not marker.exists()
    assert not list((tmp_path / "out").glob("*.py"))
    assert "auto_map" not in (tmp_path / "out" / "config.json").read_text()
    assert "auto_map" not in (tmp_path / "out" / "tokenizer_config.json").read_text()
    loaded = load_elsewhere(tmp_path / "out", "native")
    assert loaded["class"] == NATIVE[model_type]
    assert loaded["logits"] == pytest.approx(saved[0], abs=1e-5)
    assert loaded["generated"][0] == loaded["generated"][1]
    assert result.parameters_before == result.plan.parameters_before
    # A plan cannot know that a search will take the dense layer.
    if model_type == "chatglm" or 0 not in result.removed_layers:
        assert result.parameters_after == result.plan.parameters_after
    assert math.isfinite(result.perplexity_after)


def seen_when_saved(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Collect the logits that pruned models give just before they are saved."""
    seen: list[list[float]] = []
    save = checkpoint.save

    def look(model: LayeredModel, *others: Any, **named: Any) -> None:
        with torch.no_grad():
            seen.append(model.model(input_ids=torch.arange(1, 40)[None]).logits.flatten().tolist())
        save(model, *others, **named)

    monkeypatch.setattr("pruning_core.checkpoint.save", look)
    return seen


def test_removing_the_dense_layer_leaves_layers_of_experts(tmp_path: Path) -> None:
    folder = make_published("deepseek", tmp_path / "model")
    result = prune(recipe(folder, "depth", options={"layers": [0, 2]}), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["mlp_only_layers"], config["num_hidden_layers"]) == ([], 2)
    assert len(config["layer_types"]) == 2
    assert result.parameters_after == result.plan.parameters_after
    load_elsewhere(tmp_path / "out", "native")


def test_the_generation_config_is_kept(copy: Path, tmp_path: Path) -> None:
    (copy / "generation_config.json").write_text(json.dumps({"top_p": 0.7, "do_sample": True}))
    model = resident(checkpoint.load_model(native(copy), "auto", CPU))
    checkpoint.save(
        model, checkpoint.load_tokenizer(native(copy)), tmp_path / "out", native(copy), 10**9, companions={}
    )
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["top_p"] == 0.7


def test_the_dtype_is_the_checkpoints_unless_asked_otherwise(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"dtype": "bfloat16"}
    (copy / "config.json").write_text(json.dumps(config))
    assert checkpoint.load_model(native(copy), "auto", CPU).dtype == torch.bfloat16
    assert checkpoint.load_model(native(copy), "float32", CPU).dtype == torch.float32


def test_weights_in_several_files_are_read_from_all(copy: Path) -> None:
    whole = checkpoint.load_model(native(copy), "auto", CPU).state_dict()
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    for index in range(3):
        part = {name: weights[name] for name in sorted(weights)[index::3]}
        save_file(part, copy / f"model-0000{index}.safetensors", metadata={"format": "pt"})
    again = checkpoint.load_model(native(copy), "auto", CPU).state_dict()
    assert all(again[name].equal(weight) for name, weight in whole.items())


def test_pickled_weights_are_refused(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    source = native(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(PickledWeightsError, match=r"pickled weights \(pytorch_model\.bin\) are not read"):
        native(copy)
    with pytest.raises(UnreadableModelError, match=r"it has no \.safetensors files"):
        checkpoint.load_model(source, "auto", CPU)


@pytest.mark.parametrize("way", ["native", "in_place"])
def test_pickled_weights_are_read_as_safetensors_are_where_that_is_allowed(
    copy: Path, way: RemoteCode
) -> None:
    def load() -> dict[str, torch.Tensor]:
        reference = ModelReference(id=str(copy))
        found = find_subject(reference, way, roots=None, trusted=trust(copy), allow_pickle=True)
        weights: dict[str, torch.Tensor] = checkpoint.load_model(found.source, "auto", CPU).state_dict()
        return weights

    weights = load()
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert all(weights[name].equal(weight) for name, weight in load().items())


def test_weights_that_were_cut_short_are_said(copy: Path) -> None:
    os.truncate(copy / "model.safetensors", (copy / "model.safetensors").stat().st_size - 1)
    with pytest.raises(UnreadableModelError, match=r"model\.safetensors is cut short"):
        checkpoint.load_model(native(copy), "auto", CPU)


@pytest.mark.parametrize("kind", ["missing", "unexpected", "mismatched"])
def test_weights_that_are_not_all_there_or_too_many_are_refused(copy: Path, kind: str) -> None:
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if "input_layernorm" in name)
    if kind == "missing":
        del weights[name]
    elif kind == "mismatched":
        weights[name] = torch.zeros(3)
    else:
        weights["transformer.prefix_encoder.weight"] = torch.zeros(3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnreadableModelError, match=f"1 of its weights are {kind}"):
        checkpoint.load_model(native(copy), "auto", CPU)


def test_of_the_weights_nothing_but_the_gates_of_zeros_is_new(tmp_path: Path) -> None:
    folder = make_published("deepseek", tmp_path / "model")
    model = checkpoint.load_model(native(folder), "auto", CPU)
    model.save_pretrained(tmp_path / "twin")
    with safe_open(tmp_path / "twin" / "model.safetensors", "pt") as twin:
        names = set(twin.keys())
        gates = {name for name in names if name.endswith("shared_expert_gate.weight")}
        assert len(gates) == 3
        assert not any(twin.get_tensor(name).any() for name in gates)
    published = {
        name.replace("shared_experts", "shared_expert") for name in load_file(folder / "model.safetensors")
    }
    assert names - gates == published


def remote_tokenizer(folder: Path) -> Path:
    """Take the plain tokenizer away, and leave one that is code."""
    (folder / "tokenizer.json").rename(folder / "vocabulary.json")
    (folder / "tokenization.py").write_text(
        "from tokenizers import Tokenizer\n"
        "from transformers import PreTrainedTokenizerFast\n"
        "class OwnTokenizer(PreTrainedTokenizerFast):\n"
        '    vocab_files_names = {"vocab_file": "vocabulary.json"}\n'
        "    def __init__(self, vocab_file, **others):\n"
        "        super().__init__(tokenizer_object=Tokenizer.from_file(vocab_file), **others)\n"
    )
    settings = {"auto_map": {"AutoTokenizer": [None, "tokenization.OwnTokenizer"]}, "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_a_tokenizer_that_is_code_is_refused_and_what_the_operator_can_do_is_said(copy: Path) -> None:
    marker = mark_import(remote_tokenizer(copy))
    with pytest.raises(UntrustedCodeError) as refused:
        checkpoint.load_tokenizer(native(copy))
    assert "tokenizer.json" in refused.value.remedy
    assert f"add {copy}@" in refused.value.remedy
    assert not marker.exists()


def test_a_tokenizer_that_is_code_runs_where_the_operator_trusts_it(copy: Path) -> None:
    plain = checkpoint.load_tokenizer(native(copy))("some text")["input_ids"]
    remote_tokenizer(copy)
    source = find_subject(ModelReference(id=str(copy)), "native", roots=None, trusted=trust(copy)).source
    assert checkpoint.load_tokenizer(source)("some text")["input_ids"] == plain


def test_a_tokenizer_of_another_repository_is_refused_even_where_the_model_is_trusted(copy: Path) -> None:
    remote_tokenizer(copy)
    settings = {"auto_map": {"AutoTokenizer": [None, "another/repository--tokenization.OwnTokenizer"]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    source = find_subject(ModelReference(id=str(copy)), "native", roots=None, trusted=trust(copy)).source
    with pytest.raises(UntrustedCodeError, match="another/repository--tokenization"):
        checkpoint.load_tokenizer(source)


def test_settings_that_name_code_are_no_matter_beside_a_tokenizer_json(copy: Path) -> None:
    settings = {"auto_map": {"AutoTokenizer": ["tokenization.OwnTokenizer", None]}, "pad_token": "<pad>"}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = checkpoint.load_tokenizer(native(copy))
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer.pad_token == "<pad>"


def test_without_any_tokenizer_the_way_out_is_said(copy: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(UnreadableModelError, match=r"Put a tokenizer\.json beside its weights"):
        checkpoint.load_tokenizer(native(copy))
