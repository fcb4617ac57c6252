"""The arithmetic of cuts, against models that transformers builds."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from pruning_core.errors import CutTooLargeError, CutTooSmallError, UnsupportedFamilyError
from pruning_core.models.registry import describe, described_model_types
from pruning_core.planning import MINIMUM_WIDTH, Plan, plan
from pruning_core.recipe import parse_recipe

WITHIN_VOCABULARY = {"pad_token_id": 0}
EXPERTS = {"num_experts": 4, "moe_intermediate_size": 640}
CONFIGS: list[dict[str, Any]] = [
    {"model_type": "llama"},
    {"model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 2},
    {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    {"model_type": "llama", "head_dim": 48, "num_key_value_heads": 1},
    {"model_type": "qwen2"},
    {"model_type": "qwen2", "tie_word_embeddings": True, "num_key_value_heads": 2},
    {"model_type": "mistral"},
    {"model_type": "mistral", "head_dim": None, "tie_word_embeddings": True, "num_key_value_heads": 2},
    {"model_type": "qwen3"},
    {"model_type": "qwen3", "attention_bias": True, "head_dim": 16, "num_key_value_heads": 2},
    {"model_type": "smollm3", **WITHIN_VOCABULARY},
    {
        "model_type": "smollm3",
        "attention_bias": True,
        "mlp_bias": True,
        "num_key_value_heads": 2,
        **WITHIN_VOCABULARY,
    },
    {"model_type": "gemma", **WITHIN_VOCABULARY},
    {
        "model_type": "gemma",
        "attention_bias": True,
        "head_dim": 16,
        "num_key_value_heads": 2,
        **WITHIN_VOCABULARY,
    },
    {"model_type": "gpt_neox"},
    {"model_type": "gpt_neox", "attention_bias": False, "tie_word_embeddings": True},
    {"model_type": "starcoder2"},
    {"model_type": "starcoder2", "use_bias": False, "tie_word_embeddings": False},
    {"model_type": "phi3", **WITHIN_VOCABULARY},
    {"model_type": "phi3", "tie_word_embeddings": True, "num_key_value_heads": 2, **WITHIN_VOCABULARY},
    {"model_type": "glm", **WITHIN_VOCABULARY},
    {"model_type": "glm", "attention_bias": False, "tie_word_embeddings": True, **WITHIN_VOCABULARY},
    {"model_type": "cohere", **WITHIN_VOCABULARY},
    {
        "model_type": "cohere",
        "attention_bias": True,
        "use_qk_norm": True,
        "num_key_value_heads": 2,
        **WITHIN_VOCABULARY,
    },
    {"model_type": "opt", "ffn_dim": 640, "word_embed_proj_dim": 64},
    {"model_type": "opt", "ffn_dim": 640, "word_embed_proj_dim": 32, "tie_word_embeddings": False},
    {"model_type": "opt", "ffn_dim": 640, "word_embed_proj_dim": 64, "enable_bias": False},
    {"model_type": "opt", "ffn_dim": 640, "word_embed_proj_dim": 64, "_remove_final_layer_norm": True},
    {"model_type": "opt", "ffn_dim": 640, "word_embed_proj_dim": 64, "layer_norm_elementwise_affine": False},
    {"model_type": "mixtral", "num_local_experts": 4},
    {"model_type": "mixtral", "num_local_experts": 3, "tie_word_embeddings": True, "num_key_value_heads": 2},
    {"model_type": "qwen2_moe", **EXPERTS, "shared_expert_intermediate_size": 96},
    {"model_type": "qwen2_moe", **EXPERTS, "mlp_only_layers": [1, 4], "qkv_bias": False},
    {"model_type": "qwen3_moe", **EXPERTS, "head_dim": 16},
    {"model_type": "qwen3_moe", **EXPERTS, "num_key_value_heads": 2, "decoder_sparse_step": 3},
    {"model_type": "olmoe", "num_experts": 4, **WITHIN_VOCABULARY},
    {"model_type": "olmoe", "num_experts": 4, "num_key_value_heads": 2, **WITHIN_VOCABULARY},
    {"model_type": "olmo2", **WITHIN_VOCABULARY, "eos_token_id": 1},
    {"model_type": "olmo2", **WITHIN_VOCABULARY, "eos_token_id": 1, "num_key_value_heads": 2},
    {"model_type": "gemma2"},
    {"model_type": "gemma2", "head_dim": 16, "num_key_value_heads": 2, "attention_bias": True},
    {"model_type": "gemma3_text"},
    {"model_type": "gemma3_text", "head_dim": 16, "num_key_value_heads": 2},
    {"model_type": "glm4", **WITHIN_VOCABULARY},
    {"model_type": "glm4", "attention_bias": False, **WITHIN_VOCABULARY},
    {"model_type": "granite"},
    {"model_type": "granite", "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2},
    {"model_type": "gpt2", "n_inner": 640},
    {"model_type": "gpt2", "n_inner": 640, "tie_word_embeddings": False},
    {"model_type": "falcon", "ffn_hidden_size": 640},
    {
        "model_type": "falcon",
        "ffn_hidden_size": 640,
        "bias": True,
        "parallel_attn": False,
        "multi_query": False,
    },
    {"model_type": "falcon", "ffn_hidden_size": 640, "new_decoder_architecture": True, "num_kv_heads": 2},
    {
        "model_type": "falcon",
        "ffn_hidden_size": 640,
        "new_decoder_architecture": True,
        "num_ln_in_parallel_attn": 1,
        "tie_word_embeddings": False,
    },
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


def count(config: dict[str, Any], **changes: Any) -> int:
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
    family, _ = describe(config, "any")
    assert width.parameters_after == count(config, **{family.width_field: 384})
    changed = family.without(family.defaults | config, [2, 3])
    assert changed is not None
    assert depth.parameters_after == count(config, num_hidden_layers=3, **changed)


def test_every_supported_family_is_counted_here() -> None:
    assert {config["model_type"] for config in CONFIGS} == set(described_model_types())


LLAMA_2_7B = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32}
LLAMA_2_7B |= {"num_attention_heads": 32, "intermediate_size": 11008}
LLAMA_3_8B = LLAMA_2_7B | {"vocab_size": 128256, "num_key_value_heads": 8, "intermediate_size": 14336}
LLAMA_2_70B = LLAMA_2_7B | {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64}
LLAMA_2_70B |= {"num_key_value_heads": 8, "intermediate_size": 28672}
LLAMA_31_405B = LLAMA_2_70B | {"vocab_size": 128256, "hidden_size": 16384, "num_hidden_layers": 126}
LLAMA_31_405B |= {"num_attention_heads": 128, "intermediate_size": 53248}
QWEN_25_14B = {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 5120, "num_hidden_layers": 48}
QWEN_25_14B |= {"num_attention_heads": 40, "num_key_value_heads": 8, "intermediate_size": 13824}
PHI_35_MINI = {"model_type": "phi3", "vocab_size": 32064, "hidden_size": 3072, "num_hidden_layers": 32}
PHI_35_MINI |= {"num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 8192}
COMMAND_R = {"model_type": "cohere", "vocab_size": 256000, "hidden_size": 8192, "num_hidden_layers": 40}
COMMAND_R |= {"num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 24576}
OPT_67B = {"model_type": "opt", "vocab_size": 50272, "hidden_size": 4096, "num_hidden_layers": 32}
OPT_67B |= {"num_attention_heads": 32, "ffn_dim": 16384, "word_embed_proj_dim": 4096}


@pytest.mark.parametrize(
    ("config", "method", "ratio", "parameters", "removed"),
    [
        (LLAMA_2_7B, "osscar", 0.1, 6_738_415_616, 6.7224),
        (LLAMA_3_8B, "osscar", 0.1, 8_030_261_248, 6.8945),
        (QWEN_25_14B, "osscar", 0.1, 14_770_033_664, 7.0284),
        (PHI_35_MINI, "osscar", 0.1, 3_821_079_552, 5.9274),
        (COMMAND_R, "osscar", 0.1, 32_296_476_672, 7.4025),
        (OPT_67B, "osscar", 0.1165, 6_658_473_984, 7.5600),
        (LLAMA_2_7B, "depth", 3 / 32, 6_738_415_616, 9.0103),
        (LLAMA_2_70B, "depth", 9 / 80, 68_976_648_192, 11.1645),
        (LLAMA_31_405B, "depth", 13 / 126, 405_853_388_800, 10.2106),
        (QWEN_25_14B, "depth", 5 / 48, 14_770_033_664, 9.3185),
        (OPT_67B, "depth", 4 / 32, 6_658_473_984, 12.0977),
    ],
)
def test_the_published_tables_come_out_exactly(
    config: dict[str, Any], method: str, ratio: float, parameters: int, removed: float
) -> None:
    cut = make_plan(config, method, ratio)
    assert cut.parameters_before == parameters
    assert round(100 * cut.removed_share, 4) == removed


def test_a_variant_that_is_not_described_is_refused() -> None:
    with pytest.raises(UnsupportedFamilyError, match="do_layer_norm_before is false, as in opt-350m"):
        describe(OPT_67B | {"do_layer_norm_before": False}, "facebook/opt-350m")


@pytest.mark.parametrize("model_type", described_model_types())
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    family, _ = describe(SIZES | {"model_type": model_type, "ffn_dim": 640}, "any")
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
