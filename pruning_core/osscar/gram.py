"""The Gram matrix of an MLP's intermediate activations over the calibration text."""

import torch
from torch import Tensor, nn


class GramMatrix:
    """H = AᵀA, where A holds one row per calibration token and one column per channel.

    Each batch is multiplied in at least float32 and added up in float64, so that the sum does not lose what
    the last of a hundred thousand tokens adds.
    """

    def __init__(self, consumer: nn.Linear) -> None:
        channels = consumer.in_features
        self.value = torch.zeros(channels, channels, dtype=torch.float64, device=consumer.weight.device)
        self._hook = consumer.register_forward_pre_hook(self._add)

    def _add(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        activations = inputs[0].detach().flatten(0, -2)
        if activations.dtype in (torch.float16, torch.bfloat16):
            activations = activations.float()
        self.value += activations.T @ activations

    def detach(self) -> None:
        """Stop listening to the consumer."""
        self._hook.remove()
