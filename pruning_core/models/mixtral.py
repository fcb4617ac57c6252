"""Mixtral: every layer holds experts, of which a router chooses two for each token."""

from pruning_core.models.description import GATED, Config, ExpertRoles, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder
from pruning_core.models.mixture import count_mixture


def _count(config: Config) -> ParameterCount:
    ordinary = count_grouped_query_decoder(config)
    return count_mixture(ordinary, config, experts=config["num_local_experts"])


MIXTRAL = Family(
    name="Mixtral 8x7B, 8x22B",
    model_types=("mixtral",),
    layers="model.layers",
    mlp=GATED,
    experts=ExpertRoles("mlp.experts", count_field="num_local_experts", chosen_field="num_experts_per_tok"),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    beside="router",
    defaults={
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
    },
)
