"""The MLP of a decoder layer as the calibration meets it: one MLP, or many of which a router chooses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pruning_core.models.description import Family
from pruning_core.models.experts import Experts
from pruning_core.models.mlp import MlpChannels
from pruning_core.models.projection import Projection
from pruning_core.models.residual import Junction


@dataclass(frozen=True)
class Routing:
    """Which experts each token goes to, [tokens, chosen], and what each multiplies its output with, the same shape."""

    experts: Tensor
    weights: Tensor


@dataclass
class Heard:
    """What a batch sends into a layer's MLP: its inputs, [tokens, inputs], and where they are routed."""

    inputs: Tensor
    routing: Routing | None = None


@dataclass(frozen=True)
class Given:
    """What one MLP gets of a batch.

    Attributes:
        inputs: [rows, inputs].
        rows: [rows], which of the batch's tokens these are; None for all.
        scale: [rows, 1], what its output is multiplied with; None for nothing.
        share: [rows, 1], its part of what the experts of a token give together; None for all of it.
    """

    inputs: Tensor
    rows: Tensor | None = None
    scale: Tensor | None = None
    share: Tensor | None = None


class LayerMlp(Protocol):
    """What algorithms know of a decoder layer's MLP.

    Attributes:
        parts: the MLP, or every expert.
        junction: how the output is added to the residual stream.
        chosen: how many of the parts get each token.
        has_family_width: whether its channels are those that the family's width counts.
    """

    parts: Sequence[MlpChannels]
    junction: Junction
    chosen: int
    has_family_width: bool

    def silenced(self) -> AbstractContextManager[list[Heard]]:
        """For as long as it is entered, hear what the MLP gets, and let it compute nothing and give zeros."""

    def enough(self, routings: Sequence[Routing | None]) -> list[bool]:
        """Which parts get enough tokens to be calibrated on them alone: as many as an input has dimensions."""

    def given(self, part: int, heard: Heard, *, routed: bool) -> Given:
        """What a part gets; everything, if it should see more than what is routed to it."""

    def output(self, heard: Heard) -> Tensor:
        """What the MLP gives, [tokens, outputs]."""

    def write(self) -> None:
        """Put changed parts back into the layer."""


def has_described_mlp(layer: nn.Module, family: Family) -> bool:
    """Tell whether `mlp_of` finds an MLP: one of the experts that a model's own code keeps is not described."""
    names = {name for name, _ in layer.named_modules()}
    experts = family.experts is not None and family.experts.module in names
    return experts or names.issuperset((*family.mlp.producers, family.mlp.consumer))


def mlp_of(layer: nn.Module, family: Family, config: Any) -> LayerMlp:
    """Find the MLP of a decoder layer of a model with this config."""
    roles = family.mlp
    junction = Junction(layer, roles)
    if family.experts is not None:
        parent, _, name = family.experts.module.rpartition(".")
        holder = getattr(layer.get_submodule(parent), name, None)
        if holder is not None:
            chosen: int = getattr(config, family.experts.chosen_field)
            return _Mixture(Experts(holder), junction, chosen)
    return _Single(MlpChannels(layer, roles), junction, family)


class _Single:
    chosen = 1

    def __init__(self, channels: MlpChannels, junction: Junction, family: Family) -> None:
        self.parts: Sequence[MlpChannels] = [channels]
        self.junction = junction
        self.has_family_width = family.experts is None
        self._sequence_first = family.sequence_first

    @contextmanager
    def silenced(self) -> Iterator[list[Heard]]:
        (channels,) = self.parts
        first, *others = channels.producers
        heard: list[Heard] = []

        def hear(inputs: Tensor) -> Tensor:
            heard.append(Heard((inputs.transpose(0, 1) if self._sequence_first else inputs).flatten(0, -2)))
            return _zeros(inputs, first)

        doing: dict[nn.Module, Callable[..., Tensor]] = {first.module: hear}
        for silent in (*others, channels.consumer):
            doing[silent.module] = partial(_zeros, projection=silent)
        with _doing(doing):
            yield heard

    def enough(self, routings: Sequence[Routing | None]) -> list[bool]:
        del routings
        return [True]

    def given(self, part: int, heard: Heard, *, routed: bool) -> Given:
        del part, routed
        return Given(heard.inputs)

    def output(self, heard: Heard) -> Tensor:
        (channels,) = self.parts
        return channels.consumer(channels.activations(heard.inputs))

    def write(self) -> None:
        pass


class _Mixture:
    has_family_width = True

    def __init__(self, experts: Experts, junction: Junction, chosen: int) -> None:
        self.parts = experts.mlps
        self.junction = junction
        self.chosen = chosen
        self._experts = experts

    @contextmanager
    def silenced(self) -> Iterator[list[Heard]]:
        heard: list[Heard] = []

        def hear(inputs: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
            heard.append(Heard(inputs, Routing(experts, weights)))
            return torch.zeros_like(inputs)

        with _doing({self._experts.module: hear}):
            yield heard

    def enough(self, routings: Sequence[Routing | None]) -> list[bool]:
        chosen = torch.cat([_required(routing).experts.flatten() for routing in routings])
        counts = chosen.bincount(minlength=len(self.parts))
        return [count >= self.parts[0].inputs for count in counts.tolist()]

    def given(self, part: int, heard: Heard, *, routed: bool) -> Given:
        if not routed:
            return Given(heard.inputs)
        routing = _required(heard.routing)
        rows, places = torch.where(routing.experts == part)
        scale = routing.weights[rows, places, None]
        return Given(heard.inputs[rows], rows, scale, scale / routing.weights[rows].sum(dim=1, keepdim=True))

    def output(self, heard: Heard) -> Tensor:
        routing = _required(heard.routing)
        output: Tensor = self._experts.module(heard.inputs, routing.experts, routing.weights)
        return output

    def write(self) -> None:
        self._experts.write()


def _required(routing: Routing | None) -> Routing:
    assert routing is not None  # noqa: S101  a mixture hears nothing else
    return routing


def _zeros(inputs: Tensor, projection: Projection) -> Tensor:
    return inputs.new_zeros(*inputs.shape[:-1], projection.outputs)


@contextmanager
def _doing(forwards: Mapping[nn.Module, Callable[..., Tensor]]) -> Iterator[None]:
    """Let modules do something else than they do, for a while."""
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module in forwards:
            module.__dict__.pop("forward", None)
