"""The sums over calibration tokens that least squares needs."""

from dataclasses import dataclass

import torch
from torch import Tensor

COLUMNS_PER_PRODUCT = 512
"""Width of the column panels of AᵀA: narrow enough to skip much of the lower half, wide enough for the matrix unit."""


@dataclass(frozen=True)
class Moments:
    """Sums over n tokens, all float64.

    Attributes:
        gram: [channels, channels], AᵀA.
        cross: [channels, outputs], AᵀY; None where no Y was given.
        activations: [channels], the column sums of A.
        targets: [outputs], the column sums of Y; zeros where no Y was given.
        tokens: n.
    """

    gram: Tensor
    cross: Tensor | None
    activations: Tensor
    targets: Tensor
    tokens: int

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of the tokens of both."""
        return Moments(
            gram=self.gram + other.gram,
            cross=None if self.cross is None or other.cross is None else self.cross + other.cross,
            activations=self.activations + other.activations,
            targets=self.targets + other.targets,
            tokens=self.tokens + other.tokens,
        )

    def centred(self) -> "Moments":
        """The moments of A and Y less their means: what is left to fit once a bias has fitted the means."""
        return Moments(
            gram=self.gram - torch.outer(self.activations, self.activations) / self.tokens,
            cross=None
            if self.cross is None
            else self.cross - torch.outer(self.activations, self.targets) / self.tokens,
            activations=torch.zeros_like(self.activations),
            targets=torch.zeros_like(self.targets),
            tokens=self.tokens,
        )


class MomentSums:
    """Adds up `Moments`, batch by batch.

    Each batch is multiplied in at least float32 and added up in float64, so that the sum does not lose what the last of
    a hundred thousand tokens adds. Of the symmetric AᵀA only the panels on and above the diagonal are computed.
    """

    def __init__(self, channels: int, outputs: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self._upper, self._cross = zeros(channels, channels), zeros(channels, outputs)
        self._activations, self._targets = zeros(channels), zeros(outputs)
        self._tokens = 0
        self._has_targets = False

    def add(self, activations: Tensor, targets: Tensor | None) -> None:
        """Add a batch: A, [tokens, channels], and Y, [tokens, outputs], in every batch or in none."""
        activations = _at_least_float32(activations)
        for start in range(0, activations.shape[1], COLUMNS_PER_PRODUCT):
            panel = activations[:, start : start + COLUMNS_PER_PRODUCT]
            self._upper[start : start + COLUMNS_PER_PRODUCT, start:] += panel.T @ activations[:, start:]
        self._activations += activations.sum(0, dtype=torch.float64)
        self._tokens += len(activations)
        if targets is not None:
            targets = _at_least_float32(targets)
            self._cross += activations.T @ targets
            self._targets += targets.sum(0, dtype=torch.float64)
            self._has_targets = True

    def total(self) -> Moments:
        """Give the sums so far."""
        return Moments(
            gram=self._upper.triu() + self._upper.triu(1).T,
            cross=self._cross if self._has_targets else None,
            activations=self._activations,
            targets=self._targets,
            tokens=self._tokens,
        )


def _at_least_float32(batch: Tensor) -> Tensor:
    return batch.float() if batch.dtype in (torch.float16, torch.bfloat16) else batch
