"""Command-R: attention and MLP read the same norm and are added side by side; the head is tied and scaled."""

from dataclasses import replace

from pruning_core.models.description import GATED, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_with_configured_biases, head_dimension


def _count(config: Config) -> ParameterCount:
    count = count_with_configured_biases(config, layer_norms=1)
    if not config["use_qk_norm"]:
        return count
    heads = config["num_attention_heads"]
    # Unlike Qwen3's, a weight for every head.
    normed = (heads + (config.get("num_key_value_heads") or heads)) * head_dimension(config)
    return replace(count, layer_without_channels=count.layer_without_channels + normed)


COHERE = Family(
    name="Command-R",
    model_types=("cohere",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    defaults={
        "attention_bias": False,
        "use_qk_norm": False,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
    },
)
