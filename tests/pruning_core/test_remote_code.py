"""Models that are pruned in place: their own code runs, where the operator allows it, and goes with the result."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pruning_core import checkpoint, prune
from pruning_core.errors import NoRemoteCodeError, UntrustedCodeError, UnusableLayersError
from pruning_core.layered_model import ResidentModel
from pruning_core.model_code import ModelCode, parse_trusted
from pruning_core.preflight import Preflight
from pruning_core.recipe import ModelReference
from pruning_core.subject import find_subject
from tests.pruning_core.published_recipes import load_elsewhere, recipe, trust
from tests.pruning_core.test_twins import seen_when_saved
from tests.tiny_published import make_published, mark_import


@pytest.fixture(params=["chatglm", "deepseek"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_published(request.param, tmp_path / request.param)


def test_code_that_nobody_allowed_is_refused_and_not_imported(folder: Path, tmp_path: Path) -> None:
    marker = mark_import(folder)
    with pytest.raises(UntrustedCodeError) as refused:
        prune(recipe(folder, "depth", "in_place"), tmp_path / "out")
    assert (refused.value.field, refused.value.value) == ("remote_code", "in_place")
    (entry,) = trust(folder)
    assert f"add {entry} to SECATEUR_TRUSTED_REMOTE_CODE" in refused.value.remedy
    native = "glm" if folder.name == "chatglm" else "qwen2_moe"
    assert f"Leave remote_code out, and it is converted to {native}" in refused.value.remedy
    assert not marker.exists()


def test_code_that_changed_since_it_was_allowed_is_refused(folder: Path, tmp_path: Path) -> None:
    allowed = trust(folder)
    Preflight(recipe(folder, "depth", "in_place"), None, allowed)
    marker = mark_import(folder)
    with pytest.raises(UntrustedCodeError):
        prune(recipe(folder, "depth", "in_place"), tmp_path / "out", trusted=allowed)
    assert not marker.exists()
    (folder / "another.py").write_text("")
    with pytest.raises(UntrustedCodeError):
        prune(recipe(folder, "depth", "in_place"), tmp_path / "out", trusted=allowed)


def test_code_that_changes_after_it_was_looked_at_does_not_run(folder: Path, tmp_path: Path) -> None:
    before = ModelCode.read(folder)
    ready = Preflight(recipe(folder, "depth", "in_place"), None, trust(folder))
    marker = mark_import(folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModelForCausalLM"] = "another/repository--modeling.Model"
    (folder / "config.json").write_text(json.dumps(config))
    model = ResidentModel(checkpoint.load_model(ready.source, "auto", torch.device("cpu")), ready.family)
    tokenizer = checkpoint.load_tokenizer(ready.source)
    checkpoint.save(model, tokenizer, tmp_path / "out", ready.source, 10**9, companions={})
    assert not marker.exists()
    assert ModelCode.read(tmp_path / "out") == before


CUTS = [("chatglm", "osscar"), ("chatglm", "depth"), ("deepseek", "depth")]


@pytest.mark.parametrize(("model_type", "method"), CUTS)
def test_what_is_pruned_keeps_its_code_and_loads_by_it(
    tmp_path: Path, model_type: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = make_published(model_type, tmp_path / "model"), tmp_path / "out"
    saved = seen_when_saved(monkeypatch)
    result = prune(recipe(folder, method, "in_place"), out, trusted=trust(folder))
    assert ModelCode.read(out) == ModelCode.read(folder)
    before, after = (json.loads((place / "config.json").read_text()) for place in (folder, out))
    assert after["auto_map"] == before["auto_map"]
    changed = {name for name in before if before[name] != after[name]}
    depth, width = ("num_layers", "ffn_hidden_size") if model_type == "chatglm" else ("num_hidden_layers", "")
    assert changed == {width if method == "osscar" else depth} | (
        {"first_k_dense_replace"} if model_type == "deepseek" and 0 in result.removed_layers else set()
    )
    loaded = load_elsewhere(out, "in_place")
    assert loaded["class"] == before["auto_map"]["AutoModelForCausalLM"].split(".")[1]
    assert loaded["logits"] == pytest.approx(saved[0], abs=1e-5)
    assert loaded["generated"][0] == loaded["generated"][1]
    assert result.parameters_before == result.plan.parameters_before


@pytest.mark.parametrize(("model_type", "method"), CUTS)
def test_both_ways_cut_the_same(tmp_path: Path, model_type: str, method: str) -> None:
    folder = make_published(model_type, tmp_path / "model")
    # In place experts cannot be healed.
    options = {"options": {"heal": "none"}} if model_type == "deepseek" else {}
    native = prune(recipe(folder, method, **options), tmp_path / "native")
    own = prune(recipe(folder, method, "in_place", **options), tmp_path / "own", trusted=trust(folder))
    assert own.removed_layers == native.removed_layers
    assert own.perplexity_before == pytest.approx(native.perplexity_before, rel=1e-5)
    assert own.perplexity_after == pytest.approx(native.perplexity_after, rel=1e-3)
    assert (own.parameters_before, own.parameters_after) == (
        native.parameters_before,
        native.parameters_after,
    )


def test_windows_of_a_batch_stay_apart_where_positions_come_first(tmp_path: Path) -> None:
    """Of 30 windows of 16 tokens some share a batch, and the last batch is smaller."""
    folder = make_published("chatglm", tmp_path / "model")
    text = {"dataset": "builtin", "samples": 150, "sequence_length": 16}
    native, own = (
        prune(recipe(folder, "osscar", way, calibration=text), tmp_path / way, trusted=trust(folder))
        for way in ("native", "in_place")
    )
    assert [one.error for one in own.layer_losses] == pytest.approx(
        [one.error for one in native.layer_losses], rel=1e-3
    )


def test_removing_the_dense_layer_lowers_first_k_dense_replace(tmp_path: Path) -> None:
    folder = make_published("deepseek", tmp_path / "model", first_k_dense_replace=2)
    result = prune(
        recipe(folder, "depth", "in_place", options={"layers": [0]}), tmp_path / "out", trusted=trust(folder)
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["first_k_dense_replace"] == 1
    assert result.parameters_after == result.plan.parameters_after
    # The dense layer that stays is healed; experts are not.
    assert [layer.layer for layer in result.healed_layers] == [1]
    load_elsewhere(tmp_path / "out", "in_place")


def test_a_cut_that_its_config_cannot_say_is_refused(tmp_path: Path) -> None:
    folder = make_published("deepseek", tmp_path / "model", moe_layer_freq=2)
    asked = recipe(folder, "depth", "in_place", options={"layers": [1]})
    with pytest.raises(UnusableLayersError, match="once 1 are gone"):
        prune(asked, tmp_path / "out", trusted=trust(folder))


def test_a_result_is_pruned_again(tmp_path: Path) -> None:
    folder = make_published("chatglm", tmp_path / "model")
    prune(recipe(folder, "depth", "in_place"), tmp_path / "once", trusted=trust(folder))
    twice = prune(
        recipe(tmp_path / "once", "osscar", "in_place"), tmp_path / "twice", trusted=trust(tmp_path / "once")
    )
    assert (twice.plan.layers_before, twice.plan.intermediate_size_after) == (3, 128)


def test_what_has_no_code_of_its_own_is_told_so(tiny_llama: Path, folder: Path) -> None:
    with pytest.raises(NoRemoteCodeError, match="Leave remote_code out"):
        Preflight(recipe(tiny_llama, "depth", "in_place"), None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "a.B"}}))
    with pytest.raises(NoRemoteCodeError, match="names no AutoModelForCausalLM"):
        Preflight(recipe(folder, "depth", "in_place"), None, trust(folder))


def test_code_of_another_repository_is_refused_because_nothing_pins_it(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoConfig"] = "another/repository--configuration.Config"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(NoRemoteCodeError, match="another/repository--configuration"):
        Preflight(recipe(folder, "depth", "in_place"), None, trust(folder))


def test_the_digest_is_of_the_code_and_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    same = shutil.copytree(folder, tmp_path / "same")
    (same / "README.md").write_text("words")
    assert ModelCode.read(same).digest == ModelCode.read(folder).digest
    (same / "inner").mkdir()
    (same / "inner" / "more.py").write_text("")
    assert ModelCode.read(same).digest != ModelCode.read(folder).digest


def test_trust_of_a_path_is_not_trust_of_another_with_the_same_code(folder: Path, tmp_path: Path) -> None:
    allowed = trust(folder)
    other = shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(UntrustedCodeError):
        find_subject(ModelReference(id=str(other)), "in_place", roots=None, trusted=allowed)


COMMIT, DIGEST = "ce" * 20, "ab" * 32


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", ()),
        (f"THUDM/chatglm3-6b@{COMMIT}", (f"THUDM/chatglm3-6b@{COMMIT}",)),
        (f" gpt@{COMMIT} , /models/a@b@{DIGEST},", (f"gpt@{COMMIT}", f"/models/a@b@{DIGEST}")),
    ],
)
def test_an_allow_list_is_read(text: str, entries: tuple[str, ...]) -> None:
    assert parse_trusted(text) == entries


@pytest.mark.parametrize(
    "text",
    [
        "THUDM/chatglm3-6b",
        "THUDM/chatglm3-6b@main",
        f"THUDM/chatglm3-6b@{COMMIT[:12]}",
        f"/models/a@{COMMIT}",
        "*",
    ],
)
def test_an_entry_that_pins_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="does not say which code may run"):
        parse_trusted(text)
