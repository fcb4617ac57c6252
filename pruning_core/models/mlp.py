"""The MLP of one decoder layer, seen through its family's role names."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruning_core.models.description import MlpRoles


class MlpChannels:
    """The intermediate channels of one decoder layer's MLP, to look at, to compute and to cut."""

    def __init__(self, layer: nn.Module, roles: MlpRoles) -> None:
        self.producers = [_linear(layer, path) for path in roles.producers]
        self.consumer = _linear(layer, roles.consumer)
        self._activation = layer.get_submodule(roles.activation)

    def consumer_weight(self) -> Tensor:
        """The consumer as the paper writes it: [channels, outputs], so that the MLP's output is A W."""
        return self.consumer.weight.detach().T

    def activations(self, inputs: Tensor) -> Tensor:
        """A: what the MLP's input, [tokens, inputs], sends into the consumer, [tokens, channels]."""
        return self.combine([producer(inputs) for producer in self.producers])

    def combine(self, produced: Sequence[Tensor]) -> Tensor:
        """A from what each producer gives, [tokens, channels] each; elementwise."""
        gate, *others = produced
        activations: Tensor = self._activation(gate)
        for other in others:
            activations = activations * other
        return activations

    def narrow(self, kept: Tensor) -> None:
        """Keep only the channels `kept`, [kept channels], ascending indices; the consumer's weight with them."""
        for producer in self.producers:
            producer.weight = _parameter(producer.weight.detach()[kept].clone())
            if producer.bias is not None:
                producer.bias = _parameter(producer.bias.detach()[kept].clone())
            producer.out_features = len(kept)
        self.consumer.weight = _parameter(self.consumer.weight.detach()[:, kept].contiguous())
        self.consumer.in_features = len(kept)

    def refit(self, weight: Tensor, shift: Tensor | None) -> None:
        """Give the consumer another weight, [channels, outputs], and add `shift`, [outputs], to its bias."""
        self.consumer.weight = _parameter(_like(self.consumer.weight, weight.T))
        if shift is not None:
            bias = self.consumer.bias
            self.consumer.bias = _parameter(_like(bias, bias.to(shift) + shift))

    def read_producers(self) -> list[Tensor]:
        """Each producer as one matrix, [inputs, channels], with its bias, if it has one, as a last row."""
        return [
            torch.cat([producer.weight.detach().T, *_as_row(producer.bias)]) for producer in self.producers
        ]

    def write_producers(self, matrices: Sequence[Tensor]) -> None:
        """Set the producers to such matrices."""
        for producer, matrix in zip(self.producers, matrices, strict=True):
            inputs = producer.in_features
            producer.weight = _parameter(_like(producer.weight, matrix[:inputs].T))
            if producer.bias is not None:
                producer.bias = _parameter(_like(producer.bias, matrix[inputs]))


def _linear(layer: nn.Module, path: str) -> nn.Linear:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear)  # noqa: S101  a family's description is wrong, not the user's input
    return module


def _parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def _like(old: Tensor, new: Tensor) -> Tensor:
    return new.to(dtype=old.dtype, device=old.device, memory_format=torch.contiguous_format)


def _as_row(bias: Tensor | None) -> list[Tensor]:
    return [] if bias is None else [bias.detach()[None]]
