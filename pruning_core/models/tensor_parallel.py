"""Families that nobody described: what is known of them is read from their tensor-parallel plans in transformers.

A plan says which linears are cut by output rows and which by input columns, which are an MLP's producers and consumer.
`python -m tests.tensor_parallel.generate` reads the plans, keeps the families that pass the contract of the described
ones, and writes `tensor_parallel.json`, so that neither transformers nor torch is needed here.
"""

import json
from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from pruning_core.models.description import AttentionRoles, Config, Family, MlpRoles, ParameterCount
from pruning_core.models.grouped_query import head_dimension

DATA = Path(__file__).with_suffix(".json")
ALWAYS = "always"
"""Where the data has the parameters that a model has whatever its config says."""


def sizes_of(config: Config) -> dict[str, int]:
    """What parameters' shapes are made of beside the MLP's width, by the names that the data has for it."""
    heads, dimension = config["num_attention_heads"], head_dimension(config)
    query, key_value = heads * dimension, (config.get("num_key_value_heads") or heads) * dimension
    return {
        "1": 1,
        "hidden": config["hidden_size"],
        "vocabulary": config["vocab_size"],
        "query": query,
        "key_value": key_value,
        "query_key_value": query + 2 * key_value,
        "head": dimension,
        "heads": heads,
    }


def _count(config: Config, *, parameters: Mapping[str, Any]) -> ParameterCount:
    sizes = sizes_of(config)
    totals = {"outside_layers": 0, "layer_without_channels": 0, "channel": 0}
    for field, parts in parameters.items():
        if field != ALWAYS and not config[field]:
            continue
        for part, shapes in parts.items():
            totals[part] += sum(
                times * prod(sizes[name] for name in shape.split(" × ")) for shape, times in shapes.items()
            )
    return ParameterCount(**totals)


def _derived(config: Config, *, aliases: Mapping[str, str]) -> Config:
    return {own: config[alias] for alias, own in aliases.items() if alias in config}


def _refusal(config: Config, *, only: Mapping[str, Any]) -> str | None:
    for name, value in only.items():
        if config[name] != value:
            return f"its config says {name} = {config[name]!r}, and of this family only {value!r} was tried"
    return None


def read_family(model_type: str, entry: Mapping[str, Any]) -> Family:
    """Make the family of an entry of the data."""
    mlp = entry["mlp"]
    return Family(
        name=entry["name"],
        model_types=(model_type,),
        layers=entry["layers"],
        mlp=MlpRoles(**{**mlp, "producers": tuple(mlp["producers"])}),
        attention=AttentionRoles(**entry["attention"]),
        depth_field="num_hidden_layers",
        width_field="intermediate_size",
        count=partial(_count, parameters=entry["parameters"]),
        per_layer_lists=tuple(entry["per_layer_lists"]),
        defaults=entry["defaults"],
        derived=partial(_derived, aliases=entry["aliases"]),
        refusal=partial(_refusal, only=entry["only"]),
        layers_give_tuples=entry["layers_give_tuples"],
    )


_data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))

GENERATED_FROM: str = _data["transformers"]
"""The version of transformers whose plans were read."""

PLANNED: dict[str, Family] = {name: read_family(name, entry) for name, entry in _data["families"].items()}
"""By `model_type`."""

REFUSED: dict[str, str] = _data["refused"]
"""Why the families that have a plan and are not in `PLANNED` are not, by `model_type`."""
