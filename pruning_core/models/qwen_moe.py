"""Qwen's mixtures of experts: some layers may keep an ordinary MLP, and Qwen2's have an expert for every token."""

from collections.abc import Collection
from dataclasses import replace

from pruning_core.models.description import GATED, Config, ExpertRoles, Family, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder, count_with_configured_biases
from pruning_core.models.mixture import count_mixture

_EXPERTS = ExpertRoles("mlp.experts", count_field="num_experts", chosen_field="num_experts_per_tok")


def _ordinary_layers(config: Config) -> list[int]:
    """The layers without experts."""
    named, step = config["mlp_only_layers"] or (), config["decoder_sparse_step"]
    return [index for index in range(config["num_hidden_layers"]) if index in named or (index + 1) % step]


def _without(config: Config, removed: Collection[int]) -> Config:
    ordinary = set(_ordinary_layers(config))
    kept = [index for index in range(config["num_hidden_layers"]) if index not in removed]
    return {
        "mlp_only_layers": [index for index, layer in enumerate(kept) if layer in ordinary],
        "decoder_sparse_step": 1,
    }


def _derived(config: Config) -> Config:
    # Qwen3's may be saved under Mixtral's name.
    return {"num_experts": config["num_experts"] if "num_experts" in config else config["num_local_experts"]}


def _refusal(config: Config) -> str | None:
    if config["num_experts"] and len(_ordinary_layers(config)) < config["num_hidden_layers"]:
        return None
    return "none of its layers has experts (num_experts, decoder_sparse_step and mlp_only_layers say so)"


def _count_qwen2(config: Config) -> ParameterCount:
    hidden = config["hidden_size"]
    return count_mixture(
        count_grouped_query_decoder(config, qkv_bias=config["qkv_bias"]),
        config,
        experts=config["num_experts"],
        shared=3 * hidden * config["shared_expert_intermediate_size"] + hidden,
        ordinary_layers=len(_ordinary_layers(config)),
    )


def _count_qwen3(config: Config) -> ParameterCount:
    return count_mixture(
        count_with_configured_biases(config, qk_norm=True),
        config,
        experts=config["num_experts"],
        ordinary_layers=len(_ordinary_layers(config)),
    )


QWEN2_MOE = Family(
    name="Qwen1.5-MoE, Qwen2-57B-A14B",
    model_types=("qwen2_moe",),
    layers="model.layers",
    mlp=GATED,
    experts=_EXPERTS,
    depth_field="num_hidden_layers",
    width_field="moe_intermediate_size",
    count=_count_qwen2,
    per_layer_lists=("layer_types",),
    without=_without,
    beside="router, shared expert, ordinary MLPs",
    defaults={
        "qkv_bias": True,
        "num_key_value_heads": 16,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "intermediate_size": 5632,
        "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
    },
    derived=_derived,
    refusal=_refusal,
)

QWEN3_MOE = replace(
    QWEN2_MOE,
    name="Qwen3-30B-A3B, 235B-A22B",
    model_types=("qwen3_moe",),
    count=_count_qwen3,
    per_layer_lists=(),
    beside="router, ordinary MLPs",
    defaults={
        "attention_bias": False,
        "num_key_value_heads": 4,
        "num_local_experts": 128,
        "num_experts_per_tok": 8,
        "intermediate_size": 6144,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
    },
)
