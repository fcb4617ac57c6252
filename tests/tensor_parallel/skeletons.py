"""Models of any causal family that transformers has, of sizes that no two parts share, to read their shapes from."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)

SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
SIZES: dict[str, Any] = {
    "vocab_size": 500,
    "hidden_size": 96,
    "intermediate_size": 176,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 224,
    **SPECIAL_TOKENS,
}
HEAD_DIMENSION = 20
FACTORS = ("multiplier", "scale", "scaling")


def own_fields(model_type: str) -> dict[str, Any]:
    """The fields that a family's config class adds to what every config has, with their defaults."""
    every = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    fields = dataclasses.fields(CONFIG_MAPPING[model_type])
    return {field.name: field.default for field in fields if field.name not in every}


def flags(model_type: str) -> list[str]:
    """The fields that are true or false, but the one that no weight and no activation depends on."""
    own = own_fields(model_type).keys() - {"use_cache"}
    fields = dataclasses.fields(CONFIG_MAPPING[model_type])
    return sorted(field.name for field in fields if field.name in own and "bool" in str(field.type))


def telling(model_type: str) -> dict[str, Any]:
    """Changes without which a small model would not tell: factors that are not 1, and windows that are short."""
    own = own_fields(model_type)
    changes: dict[str, Any] = {
        name: default / 2
        for name, default in own.items()
        if name.endswith(FACTORS) and isinstance(default, int | float)
    }
    return changes | {
        name: value for name, value in {"sliding_window": 16, "head_dim": 8}.items() if name in own
    }


def make_config(model_type: str, **changes: Any) -> Any:
    return CONFIG_MAPPING[model_type](**SIZES | changes)


def skeleton(model_type: str, **changes: Any) -> PreTrainedModel:
    """A model without memory, whose heads have a dimension of their own if the family can say that."""
    if _heeds_head_dimension(model_type):
        changes = {"head_dim": HEAD_DIMENSION} | changes
    return _on_meta(model_type, changes)


@cache
def _heeds_head_dimension(model_type: str) -> bool:
    usual = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    usual_model, other = (_on_meta(model_type, {"head_dim": size}) for size in (usual, HEAD_DIMENSION))
    return usual_model.num_parameters() != other.num_parameters()


def _on_meta(model_type: str, changes: Mapping[str, Any]) -> PreTrainedModel:
    with torch.device("meta"):
        return instance(make_config(model_type, **changes))


def instance(config: Any) -> PreTrainedModel:
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model: PreTrainedModel = kind(config)
    return model
