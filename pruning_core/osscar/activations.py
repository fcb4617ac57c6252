"""What the calibration text sends into an MLP's consumer."""

import torch
from torch import Tensor, nn

from pruning_core import budgets


def fit_in_cache(tokens: int, channels: int, dtype: torch.dtype) -> bool:
    """Tell whether one layer's activations on `tokens` tokens may be held."""
    return tokens * channels * dtype.itemsize <= budgets.ACTIVATION_CACHE_BYTES


class ConsumerInputs:
    """Listens to the consumer: adds up H = AᵀA, and holds A if asked to.

    A has one row per calibration token and one column per channel. Each batch is multiplied in at least float32 and
    added up in float64, so that the sum does not lose what the last of a hundred thousand tokens adds.

    Attributes:
        gram: [channels, channels], H so far, float64.
        batches: A, batch by batch, [tokens, channels] each, if it is held.
    """

    def __init__(self, consumer: nn.Linear, *, hold: bool) -> None:
        channels = consumer.in_features
        self.gram = torch.zeros(channels, channels, dtype=torch.float64, device=consumer.weight.device)
        self.batches: list[Tensor] = []
        self._hold = hold
        self._hook = consumer.register_forward_pre_hook(self._add)

    def _add(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        activations = inputs[0].detach().flatten(0, -2)
        if self._hold:
            self.batches.append(activations)
        if activations.dtype in (torch.float16, torch.bfloat16):
            activations = activations.float()
        self.gram += activations.T @ activations

    def detach(self) -> None:
        """Stop listening to the consumer."""
        self._hook.remove()
