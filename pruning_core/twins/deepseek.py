"""DeepSeek-MoE 16B as `Qwen2MoeForCausalLM`, whose shared expert passes a gate that DeepSeek's does not.

A gate of zeros gives sigmoid(0) = 1/2, exactly, so the shared expert's last linear is doubled: multiplying by two and
by a half changes no digit of a binary float, unless 16-bit floats overflow at twice the shared expert's output. With
the gates of zeros the twin has `hidden_size` weights more in each layer of experts; they are not counted.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pruning_core.models.deepseek import DEEPSEEK, dense_layers
from pruning_core.models.description import Config, ParameterCount
from pruning_core.models.qwen_moe import QWEN2_MOE
from pruning_core.twins.description import PublishedModel, Twin, common_fields

_GATE = "mlp.shared_expert_gate.weight"


def _count(config: Config) -> ParameterCount:
    count = QWEN2_MOE.count(config)
    return replace(count, layer_without_channels=count.layer_without_channels - config["hidden_size"])


def _config(published: Config) -> dict[str, Any]:
    return {
        "model_type": "qwen2_moe",
        "architectures": ["Qwen2MoeForCausalLM"],
        "vocab_size": published["vocab_size"],
        "hidden_size": published["hidden_size"],
        "intermediate_size": published["intermediate_size"],
        "num_hidden_layers": published["num_hidden_layers"],
        "num_attention_heads": published["num_attention_heads"],
        "num_key_value_heads": published["num_key_value_heads"] or published["num_attention_heads"],
        "hidden_act": published["hidden_act"],
        "rms_norm_eps": published["rms_norm_eps"],
        "max_position_embeddings": published["max_position_embeddings"],
        "rope_parameters": {"rope_type": "default", "rope_theta": published["rope_theta"]},
        "tie_word_embeddings": False,
        "qkv_bias": False,
        "num_experts": published["n_routed_experts"],
        "num_experts_per_tok": published["num_experts_per_tok"],
        "moe_intermediate_size": published["moe_intermediate_size"],
        "shared_expert_intermediate_size": published["n_shared_experts"] * published["moe_intermediate_size"],
        # The published code leaves a single expert's weight as it is.
        "norm_topk_prob": bool(published["norm_topk_prob"]) and published["num_experts_per_tok"] > 1,
        "mlp_only_layers": dense_layers(published),
        "decoder_sparse_step": 1,
        **common_fields(published),
    }


def _weights(name: str, weight: Any, _published: Config) -> Iterator[tuple[str, Any]]:
    if name.endswith(".rotary_emb.inv_freq"):
        return
    layer, shared, linear = name.partition(".mlp.shared_experts.")
    if not shared:
        yield name, weight
        return
    if linear == "down_proj.weight":
        yield f"{layer}.{_GATE}", weight.new_zeros(1, len(weight))
        weight = 2 * weight
    yield f"{layer}.mlp.shared_expert.{linear}", weight


DEEPSEEK_MODEL = PublishedModel(
    family=DEEPSEEK,
    architectures=("DeepseekForCausalLM",),
    sizes=(
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "n_routed_experts",
        "n_shared_experts",
        "num_experts_per_tok",
        "moe_layer_freq",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
    ),
    twin=Twin(family=replace(QWEN2_MOE, count=_count), config=_config, weights=_weights, added=(_GATE,)),
    undescribed_experts=True,
)
