"""SmolLM3: Llama with rotary positions in three layers of four; two lists say which layer is which."""

from pruning_core.models.description import GATED, Family
from pruning_core.models.grouped_query import count_with_configured_biases

SMOLLM3 = Family(
    name="SmolLM3",
    model_types=("smollm3",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=count_with_configured_biases,
    per_layer_lists=("layer_types", "no_rope_layers"),
    defaults={
        "attention_bias": False,
        "mlp_bias": False,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
        "max_position_embeddings": 32768,
    },
)
