"""Phi-3, Phi-3.5 and Phi-4: fused query, key and value, fused gate and up.

The lists of longrope factors in the config are per dimension, not per layer, and stay.
"""

from pruning_core.models.description import FUSED, Family
from pruning_core.models.grouped_query import count_grouped_query_decoder

PHI3 = Family(
    name="Phi-3, Phi-3.5, Phi-4",
    model_types=("phi3",),
    layers="model.layers",
    mlp=FUSED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=count_grouped_query_decoder,
    defaults={
        "tie_word_embeddings": False,
        "max_position_embeddings": 4096,
    },
)
