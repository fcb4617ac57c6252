"""Falcon: fused query, key and value, no gate; attention and MLP mostly side by side."""

from pruning_core.models.description import AttentionRoles, Config, Family, MlpRoles, ParameterCount
from pruning_core.models.grouped_query import head_dimension


def _derived(config: Config) -> Config:
    return {"ffn_hidden_size": config.get("ffn_hidden_size") or 4 * config["hidden_size"]}


def _key_value_heads(config: Config) -> int:
    heads: int = config["num_attention_heads"]
    if config["new_decoder_architecture"]:
        return config.get("num_kv_heads") or heads
    return 1 if config["multi_query"] else heads


def _layer_norms(config: Config) -> int:
    if config["new_decoder_architecture"]:
        # Two unless the config says one, as Falcon 2 11B's does.
        return config["num_ln_in_parallel_attn"] or 2
    return 1 if config["parallel_attn"] else 2


def _count(config: Config) -> ParameterCount:
    hidden, bias = config["hidden_size"], config["bias"]
    query = config["num_attention_heads"] * head_dimension(config)
    fused = query + 2 * _key_value_heads(config) * head_dimension(config)
    embeddings = config["vocab_size"] * hidden * (1 if config["tie_word_embeddings"] else 2)
    return ParameterCount(
        outside_layers=embeddings + 2 * hidden,
        layer_without_channels=(hidden + bias) * fused
        + (query + bias) * hidden
        + bias * hidden
        + 2 * hidden * _layer_norms(config),
        channel=2 * hidden + bias,
    )


FALCON = Family(
    name="Falcon 7B, 40B, 180B, Falcon 2",
    model_types=("falcon",),
    layers="transformer.h",
    mlp=MlpRoles(producers=("mlp.dense_h_to_4h",), activation="mlp.act", consumer="mlp.dense_4h_to_h"),
    attention=AttentionRoles("self_attention.dense"),
    depth_field="num_hidden_layers",
    width_field="ffn_hidden_size",
    count=_count,
    defaults={
        "num_ln_in_parallel_attn": None,
        "multi_query": True,
        "parallel_attn": True,
        "new_decoder_architecture": False,
        "bias": False,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
    },
    derived=_derived,
    layers_give_tuples=True,
)
