"""The arithmetic of cuts, against models that transformers builds."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from pruning_core.errors import CutTooLargeError, CutTooSmallError
from pruning_core.models.registry import describe, supported_model_types
from pruning_core.planning import MINIMUM_WIDTH, Plan, plan
from pruning_core.recipe import parse_recipe

CONFIGS: list[dict[str, Any]] = [
    {"model_type": "llama"},
    {"model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 2},
    {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    {"model_type": "llama", "head_dim": 48, "num_key_value_heads": 1},
    {"model_type": "qwen2"},
    {"model_type": "qwen2", "tie_word_embeddings": True, "num_key_value_heads": 2},
]
SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 640,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
}


def make_plan(config: dict[str, Any], method: str, ratio: float, **changes: Any) -> Plan:
    family, filled = describe(config, "any")
    return plan(parse_recipe({"model": "any", "method": method, "ratio": ratio, **changes}), family, filled)


def count(config: dict[str, Any], **changes: int) -> int:
    fields = {key: value for key, value in (config | changes).items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **fields))
    total: int = model.num_parameters()
    return total


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_before_and_after_are_those_of_the_model(config: dict[str, Any]) -> None:
    config = SIZES | config
    width, depth = make_plan(config, "osscar", 0.4), make_plan(config, "depth", 0.4)
    assert width.parameters_before == depth.parameters_before == count(config)
    assert width.parameters_after == count(config, intermediate_size=384)
    assert depth.parameters_after == count(config, num_hidden_layers=3)


def test_every_supported_family_is_counted_here() -> None:
    assert {config["model_type"] for config in CONFIGS} == set(supported_model_types())


@pytest.mark.parametrize("model_type", supported_model_types())
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    family, _ = describe(SIZES | {"model_type": model_type}, "any")
    theirs = AutoConfig.for_model(model_type).to_dict()
    assert {name: theirs[name] for name in family.defaults} == dict(family.defaults)


@given(
    ratio=st.floats(0.01, 0.99),
    width=st.integers(200, 60_000),
    multiple=st.sampled_from([1, 32, 64, 128, 256]),
)
def test_a_kept_width_is_a_multiple_near_what_was_asked_and_never_wider(
    ratio: float, width: int, multiple: int
) -> None:
    config = SIZES | {"model_type": "llama", "intermediate_size": width}
    try:
        cut = make_plan(config, "osscar", ratio, options={"width_multiple": multiple})
    except CutTooSmallError:
        assert int(width * (1 - ratio)) + multiple / 2 >= (width - 1) // multiple * multiple
        return
    except CutTooLargeError:
        assert int(width * (1 - ratio)) - multiple / 2 < MINIMUM_WIDTH
        return
    kept = cut.intermediate_size_after
    assert MINIMUM_WIDTH <= kept < width
    assert kept % multiple == 0
    assert abs(kept - int(width * (1 - ratio))) <= multiple / 2
    assert cut.layers_after == cut.layers_before


@given(ratio=st.floats(0.001, 0.999), layers=st.integers(1, 130))
def test_the_nearest_number_of_layers_goes_at_least_one_and_never_all(ratio: float, layers: int) -> None:
    config = SIZES | {"model_type": "llama", "num_hidden_layers": layers}
    try:
        cut = make_plan(config, "depth", ratio)
    except CutTooLargeError:
        assert layers == 1 or ratio * layers >= layers - 0.5
        return
    removed = cut.layers_before - cut.layers_after
    assert 1 <= removed < layers
    assert removed == 1 or abs(removed - ratio * layers) <= 0.5
    assert cut.intermediate_size_after == cut.intermediate_size_before


@given(ratio=st.floats(0.02, 0.3), method=st.sampled_from(["osscar", "depth"]))
def test_a_share_of_the_parameters_is_hit_to_within_one_step(ratio: float, method: str) -> None:
    config = SIZES | {"model_type": "llama", "num_hidden_layers": 40, "intermediate_size": 4096}
    cut = make_plan(config, method, ratio, ratio_of="parameters")
    family, filled = describe(config, "any")
    parameters = family.count(filled)
    step = 40 * 128 * parameters.channel if method == "osscar" else parameters.layer_without_channels
    step += 4096 * parameters.channel if method == "depth" else 0
    assert abs(cut.removed_share - ratio) * cut.parameters_before <= max(step / 2, step * (ratio < 0.03))


def test_what_removes_nothing_says_the_smallest_ratio_that_removes_something() -> None:
    config = SIZES | {"model_type": "llama"}
    with pytest.raises(CutTooSmallError) as refused:
        make_plan(config, "osscar", 0.01)
    smallest = float(refused.value.remedy.split("at least ")[1].split(" ")[0])
    assert make_plan(config, "osscar", smallest).intermediate_size_after == 512
