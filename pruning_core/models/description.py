"""How a model family is described: the names of its parts and the arithmetic of its parameters, no code of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]
"""A checkpoint's `config.json`, with the family's defaults filled in."""


@dataclass(frozen=True)
class MlpRoles:
    """The parts of an MLP, by their path inside a decoder layer.

    `producers` compute the intermediate channels (their output rows are channels), `consumer` reads them (its
    input columns are channels). What the first producer gives passes the `activation`; a second one multiplies that.
    """

    producers: tuple[str, ...]
    activation: str
    consumer: str


@dataclass(frozen=True)
class ParameterCount:
    """A model's parameters as a function of its depth and its MLP width; tied weights count once."""

    outside_layers: int
    layer_without_channels: int
    channel: int

    def total(self, layers: int, channels: int) -> int:
        return self.outside_layers + layers * (self.layer_without_channels + channels * self.channel)


@dataclass(frozen=True)
class Family:
    """One model family of transformers.

    Attributes:
        model_types: the `model_type` values it describes.
        layers: path of the decoder layers inside the `…ForCausalLM` module.
        mlp: the MLP's linears.
        depth_field: config field that counts decoder layers.
        width_field: config field that holds the MLP's intermediate size.
        count: parameters of a model with this config.
        per_layer_lists: config fields that hold one value per decoder layer, cut together with the layers.
        defaults: config fields that a `config.json` may omit, as transformers fills them in.
    """

    model_types: tuple[str, ...]
    layers: str
    mlp: MlpRoles
    depth_field: str
    width_field: str
    count: Callable[[Config], ParameterCount]
    per_layer_lists: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
