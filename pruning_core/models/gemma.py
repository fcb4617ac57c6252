"""Gemma, the first: wide heads, scaled and tied embeddings. Gemma 2 and 3 have norms behind the MLP and are others."""

from pruning_core.models.description import GATED, Family
from pruning_core.models.grouped_query import count_with_configured_biases

GEMMA = Family(
    name="Gemma 2B and 7B, the first",
    model_types=("gemma",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=count_with_configured_biases,
    defaults={
        "attention_bias": False,
        "head_dim": 256,
        "num_key_value_heads": 16,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
    },
)
