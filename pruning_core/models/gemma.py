"""Gemma: wide heads, scaled and tied embeddings; from the second on with norms before and behind attention and MLP."""

from dataclasses import replace
from functools import partial

from pruning_core.models.description import GATED, AttentionRoles, Family
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

GEMMA2 = replace(
    GEMMA,
    name="Gemma 2",
    model_types=("gemma2",),
    mlp=replace(GATED, norm="post_feedforward_layernorm"),
    attention=AttentionRoles(norm="post_attention_layernorm"),
    count=partial(count_with_configured_biases, layer_norms=4),
    per_layer_lists=("layer_types",),
    defaults={**GEMMA.defaults, "num_key_value_heads": 4},
)

GEMMA3 = replace(
    GEMMA2,
    name="Gemma 3, text only (270M, 1B)",
    model_types=("gemma3_text",),
    count=partial(count_with_configured_biases, qk_norm=True, layer_norms=4),
    defaults={**GEMMA2.defaults, "max_position_embeddings": 131072},
)
