"""One MLP made narrower: select, refit, measure what it cost."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruning_core.osscar.elimination import eliminate


@dataclass(frozen=True)
class NarrowMlp:
    """The outcome of `narrow`.

    Attributes:
        kept: [kept], ascending indices of the channels that stay.
        weight: [kept, outputs], the consumer's rows for them, float64.
        change: [channels, outputs], Ŵ − W, where Ŵ has zeros for the channels that go: the output changes by A(Ŵ − W).
        error: ‖AŴ − AW‖² / ‖AW‖² over the calibration activations A.
    """

    kept: Tensor
    weight: Tensor
    change: Tensor
    error: float


def narrow(gram: Tensor, weight: Tensor, keep: int, damping: float) -> NarrowMlp:
    """Choose the channels of one MLP that stay and refit its consumer to the dense output.

    Args:
        gram: [channels, channels], AᵀA, float64.
        weight: [channels, outputs], the dense consumer W.
        keep: channels to keep.
        damping: λ as a share of the mean of AᵀA's diagonal.
    """
    weight = weight.to(gram)
    hessian = damp(gram, damping)
    # The target is the dense output AW, so G = AᵀAW + λW = HW, and the optimum on all channels is W itself.
    kept = eliminate(hessian, weight, keep)
    refitted = refit(hessian, hessian @ weight, kept)
    change = -weight
    change[kept] += refitted
    energy = _energy(gram, weight)
    error = _energy(gram, change) / energy if energy > 0 else 0.0
    return NarrowMlp(kept, refitted, change, error)


def damp(gram: Tensor, damping: float) -> Tensor:
    """H = AᵀA + λI, with λ = damping · mean diag AᵀA, so that dead channels leave it invertible."""
    mean = gram.diagonal().mean()
    # An MLP that calibration never woke has a Gram matrix of zeros, and any ridge is as good as another.
    ridge = torch.where(mean > 0, damping * mean, 1.0)
    return gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def refit(hessian: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """The best consumer on the kept channels, W_S = H_SS⁻¹ G_S: [kept, outputs] (Meng et al., ICML 2024)."""
    factor = torch.linalg.cholesky(hessian[kept][:, kept])
    return torch.cholesky_solve(targets[kept], factor)


def _energy(gram: Tensor, weight: Tensor) -> float:
    """‖AW‖² from AᵀA alone."""
    return (weight * (gram @ weight)).sum().item()
