"""Models that cannot be pruned, found out from their config before anything is queued."""

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from pruning_core.models.registry import described_model_types, planned_model_types
from pruning_core.twins.registry import PUBLISHED
from tests.api.conftest import Api, Change

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 128,
}


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    folder = models / tmp_path.name
    folder.mkdir()
    return folder


def write(folder: Path, config: object) -> dict[str, str]:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return {"model": str(folder)}


def only_error(problem: dict[str, Any], kind: str) -> dict[str, Any]:
    assert problem["type"] == f"/problems/{kind}"
    (error,) = problem["errors"]
    assert problem["detail"] == f"{error['field']}: {error['reason']} {error['remedy']}"
    assert error["field"].startswith("model")
    return error


@pytest.mark.parametrize("name", ["missing", ".", "x" * 300])
def test_a_folder_without_a_model_is_unknown(
    name: str, refusing_api: Api, body: Change, models: Path
) -> None:
    model = f"{models}/{name}"
    problem = refusing_api.refused(body({"model": model}))
    assert problem["title"] in ("The model cannot be found", "The model's files cannot be read")
    assert problem["errors"][0]["value"] == model
    assert (
        "Name a checkpoint's folder, or a GGUF file." in problem["detail"]
        or "name another" in problem["detail"]
    )


@pytest.mark.parametrize("model", ["two words", "-owner/name", "own..er/name", ".", "émile/model"])
def test_what_is_neither_a_hub_id_nor_a_path_is_unknown(model: str, refusing_api: Api, body: Change) -> None:
    error = only_error(refusing_api.refused(body({"model": model})), "unknown-model")
    assert error["reason"] == "this is neither a Hub id nor a path."
    assert "owner/name" in error["remedy"]


def test_a_hub_that_does_not_answer_is_said_and_what_to_use_without_it(
    refusing_api: Api, body: Change
) -> None:
    error = only_error(refusing_api.refused(body({"model": "HuggingFaceTB/SmolLM2-135M"})), "hub-unreachable")
    assert (error["field"], error["value"]) == ("model", "HuggingFaceTB/SmolLM2-135M")
    assert "folder or GGUF file" in error["remedy"]


def test_a_local_path_has_no_revision(refusing_api: Api, body: Change, tiny_llama: Path) -> None:
    request = body({"model": {"id": str(tiny_llama), "revision": "main"}})
    error = only_error(refusing_api.refused(request), "unknown-model")
    assert (error["field"], error["value"]) == ("model.revision", "main")
    assert error["remedy"] == "Leave the revision out."


@pytest.mark.parametrize("model_type", ["bert", "gpt_neo", None, ["llama"]])
def test_a_family_that_nobody_described_is_refused_and_the_known_are_named(
    model_type: object, refusing_api: Api, body: Change, folder: Path
) -> None:
    changes = write(folder, {"model_type": model_type})
    error = only_error(refusing_api.refused(body(changes)), "unsupported-family")
    assert repr(model_type) in error["reason"]
    for known in (described_model_types(), planned_model_types(), sorted(PUBLISHED)):
        assert ", ".join(known) in error["remedy"]
    assert "docs/families.md" in error["remedy"]


@pytest.mark.parametrize("architectures", [["BertForMaskedLM"], "LlamaForSequenceClassification", [3]])
def test_a_model_that_does_not_predict_the_next_token_is_refused(
    architectures: object, refusing_api: Api, body: Change, folder: Path
) -> None:
    changes = write(folder, LLAMA | {"architectures": architectures})
    error = only_error(refusing_api.refused(body(changes)), "not-a-causal-language-model")
    named = architectures if isinstance(architectures, str) else str(architectures[0])  # type: ignore[index]  # whatever JSON it is
    assert f"is {named}," in error["reason"]
    assert "ForCausalLM" in error["remedy"]


@pytest.mark.parametrize("config", ["{", "[]", '"llama"', "[" * 100_000, "\x00"])
def test_a_config_that_is_no_object_is_refused(
    config: str, refusing_api: Api, body: Change, folder: Path
) -> None:
    error = only_error(refusing_api.refused(body(write(folder, config))), "unreadable-model")
    assert error["reason"].startswith("its config.json cannot be read")


@pytest.mark.parametrize("name", [name for name, value in LLAMA.items() if isinstance(value, int)])
@pytest.mark.parametrize("value", [None, 0, -4, "32", True, 2.5])
def test_a_config_with_an_impossible_size_is_refused_by_its_name(
    name: str, value: object, refusing_api: Api, body: Change, folder: Path
) -> None:
    error = only_error(refusing_api.refused(body(write(folder, LLAMA | {name: value}))), "unreadable-model")
    assert name in error["reason"]


def test_a_broken_tokenizer_is_refused(refusing_api: Api, body: Change, folder: Path) -> None:
    changes = write(folder, LLAMA)
    (folder / "tokenizer.json").write_text("{}")
    error = only_error(refusing_api.refused(body(changes)), "unreadable-model")
    assert error["reason"].startswith("its tokenizer.json cannot be read")


def test_a_format_that_cannot_hold_the_model_is_refused(
    refusing_api: Api, body: Change, folder: Path
) -> None:
    changes = write(folder, LLAMA | {"model_type": "mistral", "architectures": ["MistralForCausalLM"]})
    problem = refusing_api.refused(body(changes | {"formats": ["safetensors", "gguf"]}))
    assert problem["type"] == "/problems/unsupported-format"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("formats", "gguf")
    assert error["remedy"] == 'Leave "gguf" out of formats, or name a model of one of these: llama, qwen2.'


def _gguf(path: Path, architecture: str = "llama") -> bytes:
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(4)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(256)
    writer.add_head_count(4)
    writer.add_context_length(128)
    writer.add_token_list(["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_gguf_file_is_planned_from_its_header_alone(
    architecture: str, refusing_api: Api, body: Change, folder: Path
) -> None:
    _gguf(folder / "whole.gguf", architecture)
    assert refusing_api.submit(body({"model": f"{folder}/whole.gguf"})).status_code == 201


def test_a_gguf_file_that_was_cut_short_is_refused_wherever_it_was_cut(
    refusing_api: Api, body: Change, folder: Path
) -> None:
    whole = _gguf(folder / "whole.gguf")
    # The last bytes are padding.
    for length in range(0, len(whole) - 32, 7):
        cut = folder / f"{length}.gguf"
        cut.write_bytes(whole[:length])
        problem = refusing_api.refused(body({"model": str(cut)}))
        assert problem["type"] == "/problems/unreadable-model"
        assert problem["errors"][0]["value"] == str(cut)
