"""Llama 2, 3, 3.1 and what is built like them (SmolLM2, TinyLlama, …)."""

from pruning_core.models.description import GATED, Family
from pruning_core.models.grouped_query import count_with_configured_biases

LLAMA = Family(
    name="Llama 2, 3, 3.1, 3.2; SmolLM2, TinyLlama",
    model_types=("llama",),
    layers="model.layers",
    mlp=GATED,
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
