"""Gemma, the first: wide heads, scaled and tied embeddings. Gemma 2 and 3 have norms behind the MLP and are others."""

from pruning_core.models.description import GATED, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder


def _count(config: Config) -> ParameterCount:
    bias = config["attention_bias"]
    return count_grouped_query_decoder(config, qkv_bias=bias, output_bias=bias)


GEMMA = Family(
    name="Gemma 2B and 7B, the first",
    model_types=("gemma",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    defaults={
        "attention_bias": False,
        "head_dim": 256,
        "num_key_value_heads": 16,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
    },
)
