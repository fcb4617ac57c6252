"""Command-R: attention and MLP read the same norm and are added side by side; the head is tied and scaled."""

from pruning_core.models.description import GATED, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_with_configured_biases, with_norms_of_all_heads


def _count(config: Config) -> ParameterCount:
    count = count_with_configured_biases(config, layer_norms=1)
    return with_norms_of_all_heads(count, config) if config["use_qk_norm"] else count


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
