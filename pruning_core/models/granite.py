"""Granite 3: Llama with factors on embeddings, attention, residual stream and logits."""

from dataclasses import replace

from pruning_core.models.description import GATED, AttentionRoles, Family
from pruning_core.models.grouped_query import count_with_configured_biases

GRANITE = Family(
    name="Granite 3, dense",
    model_types=("granite",),
    layers="model.layers",
    mlp=replace(GATED, multiplier="residual_multiplier"),
    attention=AttentionRoles(multiplier="residual_multiplier"),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=count_with_configured_biases,
    defaults={
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "max_position_embeddings": 2048,
    },
)
