"""The MLP of one decoder layer, seen through its family's role names."""

import torch
from torch import Tensor, nn

from pruning_core.models.description import MlpRoles


class MlpChannels:
    """The intermediate channels of one decoder layer's MLP, to look at and to cut."""

    def __init__(self, layer: nn.Module, roles: MlpRoles) -> None:
        self.producers = [_linear(layer, path) for path in roles.producers]
        self.consumer = _linear(layer, roles.consumer)

    def consumer_weight(self) -> Tensor:
        """The consumer as the paper writes it: [channels, outputs], so that the MLP's output is A W."""
        return self.consumer.weight.detach().T

    def narrow(self, kept: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        """Keep only the channels `kept` and give the consumer new rows for them.

        Args:
            kept: [kept channels], ascending indices.
            weight: [kept channels, outputs].
            bias: [outputs], the consumer's new bias; None leaves what it has.
        """
        for producer in self.producers:
            producer.weight = nn.Parameter(producer.weight.detach()[kept].clone(), requires_grad=False)
            if producer.bias is not None:
                producer.bias = nn.Parameter(producer.bias.detach()[kept].clone(), requires_grad=False)
            producer.out_features = len(kept)
        dense = self.consumer.weight
        self.consumer.weight = nn.Parameter(
            weight.T.to(dtype=dense.dtype, device=dense.device, memory_format=torch.contiguous_format),
            requires_grad=False,
        )
        self.consumer.in_features = len(kept)
        if bias is not None:
            self.consumer.bias = nn.Parameter(bias.to(dense), requires_grad=False)


def _linear(layer: nn.Module, path: str) -> nn.Linear:
    module = layer.get_submodule(path)
    assert isinstance(module, nn.Linear)  # noqa: S101  a family's description is wrong, not the user's input
    return module
