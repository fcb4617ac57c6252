"""Sums over the calibration tokens: all that the selection and the refit know of the text."""

from dataclasses import dataclass

import torch
from torch import Tensor

COLUMNS_PER_PRODUCT = 512
"""Width of the column panels of AᵀA: narrow enough to skip much of the lower half, wide enough for the matrix unit."""


@dataclass(frozen=True)
class Moments:
    """Sums over n tokens of the activations A and of the target T, what the consumer should make of them, in float64.

    Attributes:
        gram: [channels, channels], AᵀA.
        cross: [channels, outputs], AᵀT.
        activations: [channels], the column sums of A.
        targets: [outputs], the column sums of T.
        energy: scalar, ‖T‖².
        tokens: n.
    """

    gram: Tensor
    cross: Tensor
    activations: Tensor
    targets: Tensor
    energy: Tensor
    tokens: int

    @classmethod
    def of_gram(cls, gram: Tensor, weight: Tensor) -> "Moments":
        """The moments of which only AᵀA is known, for the target AW; a bias cannot be fitted from them."""
        cross, unknown = gram @ weight, gram.new_full((), torch.nan)
        return cls(
            gram, cross, unknown.expand(len(gram)), unknown.expand(cross.shape[1]), (weight * cross).sum(), 0
        )

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of the tokens of both."""
        return Moments(
            gram=self.gram + other.gram,
            cross=self.cross + other.cross,
            activations=self.activations + other.activations,
            targets=self.targets + other.targets,
            energy=self.energy + other.energy,
            tokens=self.tokens + other.tokens,
        )

    def centred(self) -> "Moments":
        """The moments of A and T less their means: what is left to fit once a bias has fitted the means."""
        return Moments(
            gram=self.gram - torch.outer(self.activations, self.activations) / self.tokens,
            cross=self.cross - torch.outer(self.activations, self.targets) / self.tokens,
            activations=torch.zeros_like(self.activations),
            targets=torch.zeros_like(self.targets),
            energy=self.energy - self.targets.square().sum() / self.tokens,
            tokens=self.tokens,
        )


class Square:
    """Adds up AᵀA in float64, batch by batch; of the symmetric matrix only the panels on and above the diagonal."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self._upper = torch.zeros(channels, channels, dtype=torch.float64, device=device)

    def add(self, batch: Tensor) -> None:
        """Add a batch, [tokens, channels], of any device."""
        for start in range(0, batch.shape[1], COLUMNS_PER_PRODUCT):
            panel = batch[:, start : start + COLUMNS_PER_PRODUCT]
            product = (panel.T @ batch[:, start:]).to(self._upper.device)
            self._upper[start : start + COLUMNS_PER_PRODUCT, start:] += product

    def total(self) -> Tensor:
        """[channels, channels]."""
        return self._upper.triu() + self._upper.triu(1).T


class MomentSums:
    """Adds up `Moments`, batch by batch.

    Each batch is multiplied in at least float32 and added up in float64, so that the sum does not lose what the last of
    a hundred thousand tokens adds. Before it is multiplied the mean of the first batch is taken off, and put back in
    float64: where the mean dwarfs what varies, as behind a bias and a ReLU, float32 products would drown that.

    Attributes:
        tokens: how many were added.
    """

    def __init__(self, channels: int, outputs: int, device: torch.device) -> None:
        """Begin with none; the sums are on `device`, wherever the batches are."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self._square, self._cross = Square(channels, device), zeros(channels, outputs)
        self._activations, self._targets, self._energy = zeros(channels), zeros(outputs), zeros()
        self._activations_origin: Tensor | None = None
        self._targets_origin: Tensor | None = None
        self.tokens = 0

    def add(self, activations: Tensor, targets: Tensor | None) -> None:
        """Add a batch: A, [tokens, channels], and T, [tokens, outputs], in every batch or in none."""
        activations = at_least_float32(activations)
        if self._activations_origin is None:
            self._activations_origin = activations.mean(0)
        activations = activations - self._activations_origin
        self._square.add(activations)
        self._activations += self._here(activations.sum(0, dtype=torch.float64))
        self.tokens += len(activations)
        if targets is not None:
            targets = at_least_float32(targets)
            if self._targets_origin is None:
                self._targets_origin = targets.mean(0)
            targets = targets - self._targets_origin
            self._cross += self._here(activations.T @ targets)
            self._targets += self._here(targets.sum(0, dtype=torch.float64))
            self._energy += self._here(targets.square().sum(dtype=torch.float64))

    def total(self, weight: Tensor) -> Moments:
        """Give the sums so far, of one batch at least; where no T was given it is AW, W being [channels, outputs]."""
        assert self._activations_origin is not None  # noqa: S101  every calibration has a window
        origin, sums = self._here(self._activations_origin.double()), self._activations
        activations = sums + self.tokens * origin
        beside = torch.outer(origin, sums)
        gram = self._square.total() + beside + beside.T
        gram += self.tokens * torch.outer(origin, origin)
        if self._targets_origin is None:
            weight = weight.to(gram)
            cross, targets = gram @ weight, activations @ weight
            return Moments(gram, cross, activations, targets, (weight * cross).sum(), self.tokens)
        target = self._here(self._targets_origin.double())
        targets = self._targets + self.tokens * target
        cross = self._cross + torch.outer(origin, self._targets) + torch.outer(activations, target)
        energy = self._energy + (2 * self._targets + self.tokens * target) @ target
        return Moments(gram, cross, activations, targets, energy, self.tokens)

    def _here(self, product: Tensor) -> Tensor:
        return product.to(self._cross.device)


def at_least_float32(batch: Tensor) -> Tensor:
    """Widen 16-bit floats."""
    return batch.float() if batch.dtype in (torch.float16, torch.bfloat16) else batch
