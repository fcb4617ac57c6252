"""SmolLM3: Llama with rotary positions in three layers of four; two lists say which layer is which."""

from pruning_core.models.description import GATED, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder


def _count(config: Config) -> ParameterCount:
    bias = config["attention_bias"]
    return count_grouped_query_decoder(config, qkv_bias=bias, output_bias=bias, mlp_bias=config["mlp_bias"])


SMOLLM3 = Family(
    name="SmolLM3",
    model_types=("smollm3",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    per_layer_lists=("layer_types", "no_rope_layers"),
    defaults={
        "attention_bias": False,
        "mlp_bias": False,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
        "max_position_embeddings": 32768,
    },
)
