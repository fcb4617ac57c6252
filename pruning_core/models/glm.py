"""GLM-4: biases on query, key and value, fused gate and up; since 0414 norms behind attention and MLP as well."""

from dataclasses import replace
from functools import partial

from pruning_core.models.description import FUSED, AttentionRoles, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder


def _count(config: Config, *, layer_norms: int = 2) -> ParameterCount:
    return count_grouped_query_decoder(config, qkv_bias=config["attention_bias"], layer_norms=layer_norms)


GLM = Family(
    name="GLM-4 9B",
    model_types=("glm",),
    layers="model.layers",
    mlp=FUSED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    defaults={
        "attention_bias": True,
        "head_dim": 128,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
    },
)

GLM4 = replace(
    GLM,
    name="GLM-4-0414, GLM-Z1",
    model_types=("glm4",),
    mlp=replace(FUSED, norm="post_mlp_layernorm"),
    attention=AttentionRoles(norm="post_self_attn_layernorm"),
    count=partial(_count, layer_norms=4),
)
