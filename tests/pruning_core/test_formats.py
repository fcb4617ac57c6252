"""The formats that weights come in: dtypes, one file or several, pickled; and what is said of damaged ones."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from pruning_core import PruneResult, checkpoint, parse_recipe, prune
from pruning_core.errors import PickledWeightsError, UnreachableHubError, UnreadableModelError
from pruning_core.evaluation import evaluate
from pruning_core.preflight import Preflight
from pruning_core.recipe import EvaluationText, ModelReference
from pruning_core.subject import find_subject
from pruning_core.weight_formats import INDEX, SINGLE, pickled_weights
from tests.tiny_models import make_tiny

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
METHODS: dict[str, dict[str, Any]] = {"osscar": {"ratio": 0.5}, "depth": {"ratio": 0.25}}
UP = "model.layers.2.mlp.up_proj.weight"


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A checkpoint to be changed."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def shard(folder: Path) -> None:
    """Write the weights again, into several files with an index."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / SINGLE).unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert (folder / INDEX).exists()


def shard_without_index(folder: Path) -> None:
    shard(folder)
    (folder / INDEX).unlink()


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / SINGLE), folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()


def pickle_shards(folder: Path) -> None:
    weights = load_file(folder / SINGLE)
    names = [sorted(weights)[part::2] for part in range(2)]
    places = {}
    for part, here in enumerate(names):
        file = f"pytorch_model-0000{part + 1}-of-00002.bin"
        torch.save({name: weights[name] for name in here}, folder / file)
        places |= dict.fromkeys(here, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / SINGLE).unlink()


LAYOUTS = {each.__name__: each for each in (shard, shard_without_index, pickle_weights, pickle_shards)}


def load(folder: Path, dtype: str = "auto") -> Any:
    found = find_subject(ModelReference(id=str(folder)), "native", roots=None, allow_pickle=True)
    return checkpoint.load_model(found.source, dtype, CPU)


def pruned(
    folder: Path, out: Path, method: str = "osscar", **options: Any
) -> tuple[PruneResult, dict[str, Tensor]]:
    recipe = parse_recipe(
        {
            "model": str(folder),
            "method": method,
            "calibration": {"dataset": "builtin", "samples": 8, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
            **METHODS[method],
        }
    )
    return prune(recipe, out, device="cpu", **options), load_file(out / SINGLE)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_layout_gives_the_model_that_one_file_gives(
    folder: Path, layout: Callable[[Path], None], dtype: str
) -> None:
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    before = load(folder)
    layout(folder)
    after = load(folder)
    assert str(after.dtype) == f"torch.{dtype}"
    assert type(after) is type(before)
    assert after.generation_config.to_dict() == before.generation_config.to_dict()
    weights = before.state_dict()
    assert weights.keys() == after.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in after.state_dict().items())


@pytest.mark.parametrize("model_type", ["mixtral", "gpt2", "opt"])
@pytest.mark.parametrize("layout", [shard_without_index, pickle_weights])
def test_weights_that_are_stored_by_other_names_than_they_have_in_memory_are_found(
    tmp_path: Path, model_type: str, layout: Callable[[Path], None]
) -> None:
    """Experts become one tensor, and tied heads are not stored."""
    folder = make_tiny(model_type, tmp_path / model_type)
    weights = load(folder).state_dict()
    layout(folder)
    assert all(torch.equal(weights[name], weight) for name, weight in load(folder).state_dict().items())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_sharded_checkpoint_of_16_bits_is_pruned_as_one_in_one_file(
    folder: Path, tmp_path: Path, dtype: str
) -> None:
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    result, expected = pruned(folder, tmp_path / "single")
    shard(folder)
    again, weights = pruned(folder, tmp_path / "several")
    assert result.dtype == again.dtype == dtype
    assert again.perplexity_after == result.perplexity_after
    assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())


@pytest.mark.parametrize("method", list(METHODS))
def test_pickled_weights_are_pruned_as_their_safetensors_where_that_is_allowed(
    folder: Path, tmp_path: Path, method: str
) -> None:
    result, expected = pruned(folder, tmp_path / "safe", method)
    pickle_weights(folder)
    again, weights = pruned(folder, tmp_path / "pickled", method, allow_pickle=True)
    assert (again.perplexity_before, again.perplexity_after) == (
        result.perplexity_before,
        result.perplexity_after,
    )
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())


@pytest.mark.parametrize("layout", [pickle_weights, pickle_shards])
def test_pickled_weights_are_refused_before_they_are_looked_at(
    folder: Path, tmp_path: Path, layout: Callable[[Path], None]
) -> None:
    layout(folder)
    for file in folder.glob("*.bin"):
        file.write_bytes(b"not even a pickle")
    said = pickled_weights(file.name for file in folder.iterdir())
    more = f" and {len(said) - 1} more" if len(said) > 1 else ""
    with pytest.raises(PickledWeightsError) as refused:
        pruned(folder, tmp_path / "out")
    assert refused.value.field == "model"
    assert f"pickled weights ({said[0]}{more}) are not read" in refused.value.reason
    assert "let the operator set SECATEUR_ALLOW_PICKLE" in refused.value.remedy
    with pytest.raises(PickledWeightsError):
        evaluate(ModelReference(id=str(folder)), EvaluationText(dataset="builtin"))


def test_safetensors_are_read_where_both_are_there(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(folder)


def test_other_pickles_are_no_weights(folder: Path) -> None:
    (folder / SINGLE).unlink()
    (folder / "training_args.bin").write_bytes(b"not even a pickle")
    with pytest.raises(UnreadableModelError, match=r"it has no \.safetensors files"):
        load(folder)


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_code_in_a_pickle_does_not_run_where_pickles_are_allowed(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    weights = load_file(folder / SINGLE)
    torch.save({**weights, "more": Attack(marker)}, folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()
    with pytest.raises(
        UnreadableModelError, match=r"pytorch_model\.bin is no pickle, or holds more than tensors"
    ):
        load(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Attack(marker), protocol=2))
    with pytest.raises(UnreadableModelError, match=r"pytorch_model\.bin"):
        load(folder)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not even a pickle"])
def test_a_damaged_pickle_is_said(folder: Path, content: bytes) -> None:
    pickle_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UnreadableModelError, match=r"pytorch_model\.bin (is no pickle|cannot be read)"):
        load(folder)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"step": 3}])
def test_a_pickle_that_is_no_table_of_tensors_is_said(folder: Path, content: object) -> None:
    pickle_weights(folder)
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(UnreadableModelError, match=r"pytorch_model\.bin is no table of tensors"):
        load(folder)


def test_a_checkpoint_that_was_cut_short_is_said_with_its_file_and_tensor(
    folder: Path, tmp_path: Path
) -> None:
    shard(folder)
    last = max(folder.glob("*.safetensors"))
    os.truncate(last, last.stat().st_size - 1)
    with pytest.raises(
        UnreadableModelError, match=rf"{last.name} is cut short: .* is the first that is not whole"
    ):
        pruned(folder, tmp_path / "out")


@pytest.mark.parametrize("layout", [None, shard_without_index, pickle_weights])
@pytest.mark.parametrize("kind", ["missing", "mismatched"])
def test_a_weight_that_is_missing_or_of_another_shape_is_not_filled_in_at_random(
    folder: Path, kind: str, layout: Callable[[Path], None] | None
) -> None:
    weights = load_file(folder / SINGLE)
    if kind == "missing":
        del weights[UP]
    else:
        weights[UP] = weights[UP][:8].clone()
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    if layout is pickle_weights:
        layout(folder)
    elif layout is not None:
        (folder / SINGLE).rename(folder / "weights.safetensors")
    with pytest.raises(UnreadableModelError, match=rf"1 of its weights are {kind}, the first is {UP}\."):
        load(folder)


def test_weights_that_no_model_reads_do_no_harm(folder: Path) -> None:
    weights = load_file(folder / SINGLE)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    assert load(folder)


@pytest.mark.parametrize("named", ["adapter_model.bin", "another.safetensors"])
def test_a_config_cannot_name_other_weights_than_those_that_were_looked_at(folder: Path, named: str) -> None:
    (folder / named).write_bytes(b"not even a pickle")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": named}))
    assert torch.equal(load(folder).state_dict()[UP], load_file(folder / SINGLE)[UP])


class TestOnTheHub:
    """As it lies in the local cache of a machine without a network."""

    REFERENCE = ModelReference(id="owner/name", revision=COMMIT)

    @pytest.fixture
    def snapshot(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        cache = tmp_path / "cache"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        repository = cache / "models--owner--name"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        return shutil.copytree(folder, repository / "snapshots" / COMMIT)

    def load(self) -> Any:
        found = find_subject(self.REFERENCE, "native", roots=(), allow_pickle=True)
        return checkpoint.load_model(found.source, "auto", CPU)

    @pytest.mark.parametrize("layout", [None, *LAYOUTS.values()])
    def test_every_layout_is_read(self, snapshot: Path, layout: Callable[[Path], None] | None) -> None:
        weights = self.load().state_dict()
        if layout is not None:
            layout(snapshot)
        assert all(torch.equal(weights[name], weight) for name, weight in self.load().state_dict().items())

    def test_pickled_weights_are_refused(self, snapshot: Path) -> None:
        pickle_weights(snapshot)
        with pytest.raises(PickledWeightsError):
            find_subject(self.REFERENCE, "native", roots=())

    def test_a_download_that_was_cut_short_is_said(self, snapshot: Path) -> None:
        os.truncate(snapshot / SINGLE, 1000)
        with pytest.raises(
            UnreadableModelError, match=r"model\.safetensors has 1000 bytes, which is too few"
        ):
            self.load()

    def test_weights_that_are_not_in_the_cache_are_said(self, snapshot: Path) -> None:
        (snapshot / SINGLE).unlink()
        with pytest.raises(UnreachableHubError, match="not in the local cache"):
            self.load()


def test_the_preflight_says_what_loading_would(folder: Path) -> None:
    pickle_shards(folder)
    text = {"dataset": "builtin", "samples": 8, "sequence_length": 64}
    recipe = parse_recipe(
        {"model": str(folder), "method": "depth", "ratio": 0.25, "calibration": text, "evaluation": text}
    )
    with pytest.raises(PickledWeightsError):
        Preflight(recipe, None)
    assert Preflight(recipe, None, allow_pickle=True).source.pickled
