"""Qwen2 and Qwen2.5: biases on query, key and value; `layer_types` names each layer's attention."""

from functools import partial

from pruning_core.models.description import GATED, Family
from pruning_core.models.grouped_query import count_grouped_query_decoder

QWEN2 = Family(
    name="Qwen2, Qwen2.5",
    model_types=("qwen2",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=partial(count_grouped_query_decoder, qkv_bias=True),
    per_layer_lists=("layer_types",),
    defaults={
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
    },
)
