"""The model card says what was done to which revision, with what; the Hub's own client reads its front matter."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from pruning_core.result import PruneResult
from registry.card import checkpoint_name, write_card
from tests.registry.conftest import JOB, make_result

ODD_MODELS = [
    'quote"d: [yes]',
    "/models/back`tick & <b>bold</b>",
    "/models/pipe|s and  spaces",
    "/модели/маленькая",
    "- a: list",
    "{{ 7 * 7 }}",
]


def written(folder: Path, result: PruneResult) -> tuple[dict[str, Any], str]:
    write_card(folder, result)
    _, front_matter, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front_matter), text


def loaded(folder: Path, result: PruneResult) -> ModelCardData:
    """Write the card, and read it back as clients of the Hub do."""
    write_card(folder, result)
    data = ModelCard.load(folder / "README.md").data
    assert isinstance(data, ModelCardData)
    return data


def test_it_says_what_was_done_with_what(tmp_path: Path) -> None:
    front_matter, text = written(tmp_path, make_result())
    del front_matter["model-index"]
    assert front_matter == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "HuggingFaceTB/SmolLM2-135M",
        "base_model_relation": "finetune",
        "tags": ["pruned", "secateur", "osscar"],
    }
    for fact in [
        "`HuggingFaceTB/SmolLM2-135M`",
        "`93efa2f097d58c2a74874c7e644dbc9b0cee75a2`",
        "seed 7",
        "license: apache-2.0, as the base model's",
        "python 3.11.7, torch 2.9.0, transformers 5.23.0 on cpu in 123 s",
        "made on AMD EPYC 7B13, 1 thread, Linux-6.1.0-x86_64-with-glibc2.36",
        "| 21.6081 | 30.1235 |",
        "| 134,515,008 | 114,608,448 |",
        "1152 of 1536 intermediate channels",
        "148 windows of 2048 tokens, float32",
        "c" * 64,
        "e" * 64,
    ]:
        assert fact in text


def test_both_perplexities_are_in_its_model_index(tmp_path: Path) -> None:
    front_matter, _ = written(tmp_path, make_result())
    name, (after, before) = model_index_to_eval_results(front_matter["model-index"])
    assert name == "SmolLM2-135M, pruned by osscar"
    assert (after.metric_type, after.metric_name, after.metric_value) == (
        "perplexity",
        "Perplexity",
        30.12349,
    )
    assert (before.metric_name, before.metric_value) == ("Perplexity of the base model", 21.60812)
    assert after.is_equal_except_value(before) is False
    for result in (after, before):
        assert (result.task_type, result.metric_args) == ("text-generation", {"dtype": "float32"})
        assert (result.dataset_type, result.dataset_config, result.dataset_split) == (
            "Salesforce/wikitext",
            "wikitext-2-raw-v1",
            "test",
        )
        assert result.dataset_args == {"windows": 148, "sequence_length": 2048, "sha256": "e" * 64}
    assert loaded(tmp_path, make_result()).eval_results == [after, before]


def test_a_text_of_ones_own_is_named_in_the_model_index_without_its_folder(tmp_path: Path) -> None:
    text = make_result().evaluation.model_dump() | {"dataset": "/home/somebody/texts/test.txt"}
    (result, _) = loaded(tmp_path, make_result(evaluation=text)).eval_results or []
    assert (result.dataset_type, result.dataset_name) == ("text", "test.txt")
    assert result.dataset_config is None


@pytest.mark.parametrize(
    "base_card",
    [
        {"license": "other", "license_name": "llama3.1", "license_link": "LICENSE", "language": ["en", "de"]},
        {"license": "mit", "language": "no"},
        {"license": ["mit", "apache-2.0"]},
        {},
    ],
)
def test_the_license_is_the_base_models(base_card: dict[str, Any], tmp_path: Path) -> None:
    front_matter, text = written(tmp_path, make_result(base_card=base_card))
    carried = {name for name in front_matter if name.startswith("license") or name == "language"}
    assert {name: front_matter[name] for name in carried} == base_card
    assert ("as the base model's" in text) == ("license" in base_card)


@pytest.mark.parametrize("model", ["/models/tiny", "/models/smol.Q8_0.gguf", "./tiny", "~/tiny", *ODD_MODELS])
def test_what_is_not_on_the_hub_is_no_base_model_there(model: str, tmp_path: Path) -> None:
    card = loaded(tmp_path, make_result(recipe={"model": {"id": model}}))
    assert card.base_model is None
    assert card.get("base_model_relation") is None


def test_it_says_what_became_of_code_of_the_models_own(tmp_path: Path) -> None:
    _, plain = written(tmp_path, make_result())
    assert "code of its own" not in plain
    assert "trust_remote_code" not in plain
    _, converted = written(tmp_path, make_result(converted_to="glm"))
    assert "This is the same model as `glm`" in converted
    assert 'AutoModelForCausalLM.from_pretrained("FOLDER")' in converted
    _, in_place = written(tmp_path, make_result(recipe={"remote_code": "in_place"}))
    assert "came with the base model" in in_place
    assert 'AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)' in in_place


def test_it_names_the_layers_that_depth_pruning_removed(tmp_path: Path) -> None:
    result = make_result(
        recipe={"method": "depth", "ratio": 0.1}, removed_layers=[12, 13, 14], plan=make_result().plan
    )
    front_matter, text = written(tmp_path, result)
    assert front_matter["tags"] == ["pruned", "secateur", "depth"]
    assert "Decoder layers 12, 13, 14 of 30 (counted from 0) were removed" in text
    assert "OSSCAR" not in text


def test_it_claims_no_revision_where_there_is_none(tmp_path: Path) -> None:
    result = make_result(recipe={"model": {"id": "/models/tiny"}})
    _, text = written(tmp_path, result)
    assert "revision" not in text
    assert "base model: `/models/tiny`\n" in text


@pytest.mark.parametrize("model", ODD_MODELS)
def test_an_odd_model_id_does_not_break_the_front_matter(model: str, tmp_path: Path) -> None:
    front_matter, text = written(tmp_path, make_result(recipe={"model": {"id": model}}))
    assert front_matter["library_name"] == "transformers"
    assert text.startswith("\n# ")


def test_an_odd_text_does_not_break_the_table(tmp_path: Path) -> None:
    text_used = make_result().evaluation.model_dump() | {"dataset": "/texts/a|b.txt"}
    _, text = written(tmp_path, make_result(evaluation=text_used))
    assert "perplexity on /texts/a\\|b.txt, 148 windows" in text


@pytest.mark.parametrize(
    ("model", "ratio", "name"),
    [
        ("HuggingFaceTB/SmolLM2-135M", 0.25, "pruned/smollm2-135m-osscar-25-11111111"),
        ("/models/SmolLM2.Q8_0.GGUF", 0.1, "pruned/smollm2.q8_0-osscar-10-11111111"),
        ("/models/tiny/", 0.29, "pruned/tiny-osscar-29-11111111"),
        ("a/b", 0.125, "pruned/b-osscar-12.5-11111111"),
        ("/", 0.1, "pruned/model-osscar-10-11111111"),
        ("/models/..", 0.1, "pruned/model-osscar-10-11111111"),
        ("/models/-rf", 0.1, "pruned/rf-osscar-10-11111111"),
        ("/модели/маленькая", 0.1, "pruned/model-osscar-10-11111111"),
        ("/models/a b;c$(d)", 0.1, "pruned/a-b-c-d-osscar-10-11111111"),
        ("/models/a--b...c", 0.1, "pruned/a-b.c-osscar-10-11111111"),
    ],
)
def test_names_say_what_it_is_are_safe_and_may_be_on_the_hub(model: str, ratio: float, name: str) -> None:
    assert checkpoint_name(model, "osscar", ratio, JOB) == name


def test_the_longest_model_id_still_gives_the_name_of_a_folder(tmp_path: Path) -> None:
    name = checkpoint_name("x" * 1024, "osscar", 0.123456789, JOB)
    (tmp_path / name).mkdir(parents=True)
    assert len(name.removeprefix("pruned/")) <= 96
