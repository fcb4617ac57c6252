"""Qwen3, dense: norms on query and key; `layer_types` names each layer's attention."""

from functools import partial

from pruning_core.models.description import GATED, Family
from pruning_core.models.grouped_query import count_with_configured_biases

QWEN3 = Family(
    name="Qwen3, dense",
    model_types=("qwen3",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=partial(count_with_configured_biases, qk_norm=True),
    per_layer_lists=("layer_types",),
    defaults={
        "attention_bias": False,
        "head_dim": 128,
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
    },
)
