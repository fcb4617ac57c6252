"""The MLP of one decoder layer, seen through its family's role names."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from pruning_core.models.description import MlpRoles


class MlpChannels:
    """The intermediate channels of one decoder layer's MLP, to look at, to compute and to cut."""

    def __init__(self, layer: nn.Module, roles: MlpRoles) -> None:
        self.producers = [_linear(layer, path) for path in roles.producers]
        self.consumer = _linear(layer, roles.consumer)
        named = roles.activation in ACT2FN
        self._activation = ACT2FN[roles.activation] if named else layer.get_submodule(roles.activation)
        self._fused = roles.fused

    @staticmethod
    def are_in(layer: nn.Module, roles: MlpRoles) -> bool:
        """Tell whether a decoder layer has this MLP; one of experts, among dense ones, has not."""
        names = {name for name, _ in layer.named_modules()}
        return names.issuperset((*roles.producers, roles.consumer))

    @property
    def inputs(self) -> int:
        """What the MLP reads: its hidden size."""
        return self.producers[0].in_features

    def consumer_weight(self) -> Tensor:
        """The consumer as the paper writes it: [channels, outputs], so that the MLP's output is A W."""
        return self.consumer.weight.detach().T

    def activations(self, inputs: Tensor) -> Tensor:
        """A: what the MLP's input, [tokens, inputs], sends into the consumer, [tokens, channels]."""
        return self.combine([part for producer in self.producers for part in self._split(producer(inputs))])

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
            rows = torch.cat([kept + part * self.consumer.in_features for part in range(self._fused)])
            producer.weight = _parameter(producer.weight.detach()[rows].clone())
            if producer.bias is not None:
                producer.bias = _parameter(producer.bias.detach()[rows].clone())
            producer.out_features = len(rows)
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
            part
            for producer in self.producers
            for part in self._split(torch.cat([producer.weight.detach().T, *_as_row(producer.bias)]))
        ]

    def write_producers(self, matrices: Sequence[Tensor]) -> None:
        """Set the producers to such matrices."""
        for index, producer in enumerate(self.producers):
            matrix = torch.cat([*matrices[index * self._fused : (index + 1) * self._fused]], dim=1)
            producer.weight = _parameter(_like(producer.weight, matrix[: producer.in_features].T))
            if producer.bias is not None:
                producer.bias = _parameter(_like(producer.bias, matrix[producer.in_features]))

    def _split(self, fused: Tensor) -> Sequence[Tensor]:
        return fused.chunk(self._fused, dim=1)


def _linear(layer: nn.Module, path: str) -> nn.Linear:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear)  # noqa: S101  a family's description is wrong, not the user's input
    return module


def _parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def _like(old: Tensor, new: Tensor) -> Tensor:
    return new.to(dtype=old.dtype, device=old.device).contiguous()


def _as_row(bias: Tensor | None) -> list[Tensor]:
    return [] if bias is None else [bias.detach()[None]]
