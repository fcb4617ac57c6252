"""The arithmetic of models that bring code of their own, from their published configs alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pruning_core import parse_recipe
from pruning_core.errors import (
    NotCausalLanguageModelError,
    RecipeError,
    UnreadableModelError,
    UnsupportedFamilyError,
    UnusableLayersError,
)
from pruning_core.planning import Plan, plan
from pruning_core.recipe import ModelReference, RemoteCode
from pruning_core.subject import Subject, find_subject
from pruning_core.twins.registry import PUBLISHED
from tests.published_configs import CHATGLM3, DEEPSEEK_MOE

WAYS: tuple[RemoteCode, ...] = ("native", "in_place")


def write(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def subject(folder: Path, config: dict[str, Any], way: RemoteCode) -> Subject:
    reference = ModelReference(id=str(write(folder, config)))
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return find_subject(reference, way, roots=None, trusted=[f"{folder}@{empty}"])


def make_plan(folder: Path, config: dict[str, Any], way: RemoteCode, method: str, **changes: Any) -> Plan:
    found = subject(folder, config, way)
    return plan(parse_recipe({"model": "any", "method": method, **changes}), found.family, found.config)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("config", "method", "ratio", "before", "percent"),
    [
        (CHATGLM3, "osscar", 0.1, 6_243_584_000, 7.7590),
        (DEEPSEEK_MOE, "depth", 3 / 28, 16_375_728_128, 10.7695),
    ],
)
def test_the_published_tables_come_out_exactly_whichever_way(
    tmp_path: Path,
    config: dict[str, Any],
    method: str,
    ratio: float,
    before: int,
    percent: float,
    way: RemoteCode,
) -> None:
    cut = make_plan(tmp_path, config, way, method, ratio=ratio)
    assert cut.parameters_before == before
    assert round(100 * cut.removed_share, 4) == percent


@pytest.mark.parametrize("config", [CHATGLM3, DEEPSEEK_MOE])
def test_the_twin_has_the_parameters_that_are_counted_and_those_it_adds(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    found = subject(tmp_path, config, "native")
    twin = PUBLISHED[config["model_type"]].twin
    with torch.device("meta"):
        fields = {**found.config}
        native = AutoConfig.for_model(fields.pop("model_type"), **fields)
        model = AutoModelForCausalLM.from_config(native)
    layers, width = found.config["num_hidden_layers"], found.config[found.family.width_field]
    added = sum(weight.numel() for name, weight in model.named_parameters() if name.endswith(twin.added))
    assert model.num_parameters() - added == found.family.count(found.config).total(layers, width)
    assert added == (27 * 2048 if config is DEEPSEEK_MOE else 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_dense_layer_that_is_named_counts_as_itself(tmp_path: Path, way: RemoteCode) -> None:
    first, last = (
        make_plan(tmp_path, DEEPSEEK_MOE, way, "depth", options={"layers": [layer]}) for layer in (0, 27)
    )
    attention_and_norms = 4 * 2048**2 + 2 * 2048
    assert first.parameters_before - first.parameters_after == attention_and_norms + 3 * 2048 * 10944
    assert last.parameters_before - last.parameters_after == (
        attention_and_norms + 66 * 3 * 2048 * 1408 + 64 * 2048
    )


EVERY_OTHER = DEEPSEEK_MOE | {"moe_layer_freq": 2}


def test_a_cut_that_no_published_config_can_say_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnusableLayersError, match=r"once 5 are gone.*leave remote_code out"):
        make_plan(tmp_path, EVERY_OTHER, "in_place", "depth", options={"layers": [5]})
    with pytest.raises(UnusableLayersError, match="Name the layers, or leave remote_code out"):
        make_plan(tmp_path, EVERY_OTHER, "in_place", "depth", ratio=0.1)
    with pytest.raises(UnusableLayersError, match="Name the layers"):
        make_plan(tmp_path, EVERY_OTHER, "in_place", "depth", ratio=2 / 28, options={"selection": "greedy"})
    cut = make_plan(tmp_path, EVERY_OTHER, "in_place", "depth", options={"layers": [5, 6]})
    assert cut.layers_after == 26


def test_its_twin_can_say_every_cut(tmp_path: Path) -> None:
    cut = make_plan(tmp_path, EVERY_OTHER, "native", "depth", options={"layers": [5]})
    assert cut.layers_after == 27
    family = subject(tmp_path, EVERY_OTHER, "native").family
    shorter = family.without(subject(tmp_path, EVERY_OTHER, "native").config, [1, 4])
    assert shorter is not None
    # 0, 3, 5, 7, … of what was 0, 1, 3, 5, 7, … before 1 and 4 went.
    assert shorter["mlp_only_layers"][:4] == [0, 2, 3, 5]


@pytest.mark.parametrize(
    ("config", "changes", "kind"),
    [
        (CHATGLM3, {"architectures": ["ChatGLMForSequenceClassification"]}, NotCausalLanguageModelError),
        (CHATGLM3, {"architectures": "ChatGLMModel"}, NotCausalLanguageModelError),
        (CHATGLM3, {"multi_query_attention": False}, UnsupportedFamilyError),
        (CHATGLM3, {"add_bias_linear": True}, UnsupportedFamilyError),
        (CHATGLM3, {"quantization_bit": 4}, UnsupportedFamilyError),
        (CHATGLM3, {"pre_seq_len": 128}, UnsupportedFamilyError),
        (CHATGLM3, {"rope_ratio": "much"}, UnsupportedFamilyError),
        (CHATGLM3, {"padded_vocab_size": None}, UnreadableModelError),
        (CHATGLM3, {"num_layers": "28"}, UnreadableModelError),
        (DEEPSEEK_MOE, {"scoring_func": "sigmoid"}, UnsupportedFamilyError),
        (DEEPSEEK_MOE, {"rope_scaling": {"type": "linear", "factor": 2.0}}, UnsupportedFamilyError),
        (DEEPSEEK_MOE, {"first_k_dense_replace": None}, UnsupportedFamilyError),
        (DEEPSEEK_MOE, {"n_shared_experts": None}, UnreadableModelError),
    ],
)
def test_what_is_not_described_is_refused_by_the_name_of_its_field(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], kind: type[RecipeError]
) -> None:
    with pytest.raises(kind) as refused:
        subject(tmp_path, config | changes, "native")
    name = next(iter(changes))
    assert name in str(refused.value) or name == "architectures"


def test_a_longer_context_turns_slower(tmp_path: Path) -> None:
    config = subject(tmp_path, CHATGLM3 | {"rope_ratio": 50}, "native").config
    assert config["rope_parameters"]["rope_theta"] == 500_000


def test_routed_experts_are_narrowed_and_shared_ones_stay(tmp_path: Path) -> None:
    cut = make_plan(tmp_path, DEEPSEEK_MOE, "native", "osscar", ratio=0.1)
    assert (cut.intermediate_size_before, cut.intermediate_size_after) == (1408, 1280)
    assert cut.parameters_before - cut.parameters_after == 27 * 64 * 128 * 3 * 2048
