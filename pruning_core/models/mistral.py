"""Mistral 7B, Nemo, Small: Llama without biases, with a sliding window."""

from pruning_core.models.description import GATED, Family
from pruning_core.models.grouped_query import count_grouped_query_decoder

MISTRAL = Family(
    name="Mistral 7B, Nemo, Small",
    model_types=("mistral",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=count_grouped_query_decoder,
    defaults={
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
    },
)
