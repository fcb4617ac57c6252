"""OLMo 2, whose norms come behind attention and MLP, and OLMoE; both norm queries and keys over all heads at once."""

from dataclasses import replace

from pruning_core.models.description import GATED, AttentionRoles, Config, ExpertRoles, Family, ParameterCount
from pruning_core.models.grouped_query import count_with_configured_biases, with_norms_of_all_heads
from pruning_core.models.mixture import count_mixture


def _count_ordinary(config: Config) -> ParameterCount:
    return with_norms_of_all_heads(count_with_configured_biases(config), config)


def _count_mixture(config: Config) -> ParameterCount:
    return count_mixture(_count_ordinary(config), config, experts=config["num_experts"])


OLMO2 = Family(
    name="OLMo 2",
    model_types=("olmo2",),
    layers="model.layers",
    mlp=replace(GATED, norm="post_feedforward_layernorm"),
    attention=AttentionRoles(norm="post_attention_layernorm"),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count_ordinary,
    defaults={
        "attention_bias": False,
        "tie_word_embeddings": False,
        "max_position_embeddings": 2048,
    },
)

OLMOE = Family(
    name="OLMoE",
    model_types=("olmoe",),
    layers="model.layers",
    mlp=GATED,
    experts=ExpertRoles("mlp.experts", count_field="num_experts", chosen_field="num_experts_per_tok"),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count_mixture,
    beside="router",
    defaults={
        "attention_bias": False,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "tie_word_embeddings": False,
        "max_position_embeddings": 4096,
    },
)
