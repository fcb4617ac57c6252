"""One MLP, seen through its family's role names."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from pruning_core.models.description import MlpRoles
from pruning_core.models.projection import Projection


class MlpChannels:
    """The intermediate channels of one MLP, to look at, to compute and to cut."""

    def __init__(self, parent: nn.Module, roles: MlpRoles) -> None:
        """Find the linears by their paths inside `parent`, a decoder layer or what holds an expert's."""
        self.producers = [Projection(parent.get_submodule(path)) for path in roles.producers]
        self.consumer = Projection(parent.get_submodule(roles.consumer))
        named = roles.activation in ACT2FN
        self._activation = ACT2FN[roles.activation] if named else parent.get_submodule(roles.activation)
        self._fused = roles.fused

    @property
    def inputs(self) -> int:
        """What the MLP reads: its hidden size."""
        return self.producers[0].inputs

    @property
    def width(self) -> int:
        """How many channels there are."""
        return self.consumer.inputs

    @property
    def biased(self) -> bool:
        """Whether the consumer has a bias."""
        return self.consumer.bias is not None

    def consumer_weight(self) -> Tensor:
        """The consumer as the paper writes it: [channels, outputs], so that the MLP's output is A W."""
        return self.consumer.weight

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
        width = self.width
        for producer in self.producers:
            columns = torch.cat([kept + part * width for part in range(self._fused)])
            bias = producer.bias
            producer.set(producer.weight[:, columns], None if bias is None else bias[columns])
        self.consumer.set(self.consumer.weight[kept], self.consumer.bias)

    def refit(self, weight: Tensor, shift: Tensor | None) -> None:
        """Give the consumer another weight, [channels, outputs], and add `shift`, [outputs], to its bias."""
        bias = self.consumer.bias
        self.consumer.set(weight, bias if bias is None or shift is None else bias.to(shift) + shift)

    def read_producers(self) -> list[Tensor]:
        """Each producer as one matrix, [inputs, channels], with its bias, if it has one, as a last row."""
        return [
            part
            for producer in self.producers
            for part in self._split(torch.cat([producer.weight, *_as_row(producer.bias)]))
        ]

    def write_producers(self, matrices: Sequence[Tensor]) -> None:
        """Set the producers to such matrices."""
        for index, producer in enumerate(self.producers):
            matrix = torch.cat([*matrices[index * self._fused : (index + 1) * self._fused]], dim=1)
            weight, bias = matrix[: self.inputs], None if producer.bias is None else matrix[self.inputs]
            producer.set(weight, bias)

    def _split(self, fused: Tensor) -> Sequence[Tensor]:
        return fused.chunk(self._fused, dim=1)


def _as_row(bias: Tensor | None) -> list[Tensor]:
    return [] if bias is None else [bias[None]]
