"""Llama 2, 3, 3.1 and what is built like them (SmolLM2, TinyLlama, …)."""

from pruning_core.models.description import GATED, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder


def _count(config: Config) -> ParameterCount:
    attention_bias = config["attention_bias"]
    return count_grouped_query_decoder(
        config, qkv_bias=attention_bias, output_bias=attention_bias, mlp_bias=config["mlp_bias"]
    )


LLAMA = Family(
    name="Llama 2, 3, 3.1, 3.2; SmolLM2, TinyLlama",
    model_types=("llama",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    defaults={
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "max_position_embeddings": 2048,
    },
)
