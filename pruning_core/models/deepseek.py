"""DeepSeek-MoE 16B as it was published, with modelling files of its own: dense layers first, then experts."""

from collections.abc import Collection, Mapping
from typing import Any

from pruning_core.models.description import GATED, Config, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder
from pruning_core.models.mixture import count_mixture


def dense_layers(config: Config) -> list[int]:
    """Which decoder layers have one MLP where the others have experts."""
    first, every = config["first_k_dense_replace"], config["moe_layer_freq"]
    return [index for index in range(config["num_hidden_layers"]) if index < first or index % every]


def _count(config: Config) -> ParameterCount:
    shared = config["n_shared_experts"] * config["moe_intermediate_size"]
    return count_mixture(
        count_grouped_query_decoder(config),
        config,
        experts=config["n_routed_experts"],
        shared=3 * config["hidden_size"] * shared,
        ordinary_layers=len(dense_layers(config)),
    )


def _without(config: Config, removed: Collection[int]) -> Mapping[str, Any] | None:
    kept = [index for index in range(config["num_hidden_layers"]) if index not in removed]
    dense = [position for position, index in enumerate(kept) if index in dense_layers(config)]
    fields = {"first_k_dense_replace": sum(index < config["first_k_dense_replace"] for index in kept)}
    return fields if dense_layers({**config, "num_hidden_layers": len(kept), **fields}) == dense else None


_DESCRIBED = {
    "attention_bias": False,
    "rope_scaling": None,
    "scoring_func": "softmax",
    "tie_word_embeddings": False,
}


def _refusal(config: Config) -> str | None:
    for name, value in _DESCRIBED.items():
        if config[name] != value:
            return f"its config says {name} = {config[name]!r}, and only {value!r} is described"
    first = config["first_k_dense_replace"]
    if not isinstance(first, int) or first < 0:
        return f"its config says first_k_dense_replace = {first!r}, which is no number of layers"
    return None


DEEPSEEK = Family(
    name="DeepSeek-MoE 16B",
    model_types=("deepseek",),
    layers="model.layers",
    mlp=GATED,
    depth_field="num_hidden_layers",
    width_field="moe_intermediate_size",
    count=_count,
    # Of the published configuration class.
    defaults={
        "attention_bias": False,
        "first_k_dense_replace": 0,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "moe_layer_freq": 1,
        "norm_topk_prob": False,
        "num_key_value_heads": None,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "scoring_func": "softmax",
        "tie_word_embeddings": False,
    },
    refusal=_refusal,
    without=_without,
    layers_give_tuples=True,
)
