"""The least squares behind the refit: what the consumer should give, on which channels, how strongly held back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruning_core.osscar.moments import Moments

REFIT_DAMPINGS = (0.001, 0.01, 0.1)


@dataclass(frozen=True)
class Regression:
    """Ridge regression of a target T on the activations A, towards the dense weight W.

    Attributes:
        gram: [channels, channels], AᵀA.
        cross: [channels, outputs], AᵀT.
        weight: [channels, outputs], W.
    """

    gram: Tensor
    cross: Tensor
    weight: Tensor

    @classmethod
    def of(cls, moments: Moments, weight: Tensor, drift_correction: float, *, centre: bool) -> "Regression":
        """Take T = (1 − β) AW + βY, and both A and T less their means if a bias is fitted as well."""
        moments = moments.centred() if centre else moments
        own = moments.gram @ weight
        drift = 0.0 if moments.cross is None else drift_correction * (moments.cross - own)
        return cls(moments.gram, own + drift, weight)

    def system(self, damping: float) -> tuple[Tensor, Tensor]:
        """H = AᵀA + λI and G = AᵀT + λW, so that H⁻¹G is the ridge solution on all channels."""
        return damp(self.gram, damping), self.cross + ridge(self.gram, damping) * self.weight

    def solve(self, kept: Tensor, damping: float) -> Tensor:
        """The ridge solution on the kept channels, [kept, outputs]."""
        return refit(*self.system(damping), kept)

    def error(self, kept: Tensor, weight: Tensor) -> float:
        """‖A_S V − T‖² − ‖T‖² for rows V of the kept channels."""
        fitted = self.gram[kept][:, kept] @ weight
        return (weight * (fitted - 2 * self.cross[kept])).sum().item()


def choose_damping(fitted: Regression, held_out: Regression, kept: Tensor) -> float:
    """Of `REFIT_DAMPINGS` the one whose solution on some tokens does best on others."""
    errors = {damping: held_out.error(kept, fitted.solve(kept, damping)) for damping in REFIT_DAMPINGS}
    return min(errors, key=errors.__getitem__)


def ridge(gram: Tensor, damping: float) -> Tensor:
    """λ = damping · mean diag AᵀA, a scalar."""
    mean = gram.diagonal().mean()
    # An MLP that calibration never woke has a Gram matrix of zeros, and any ridge is as good as another.
    return torch.where(mean > 0, damping * mean, 1.0)


def damp(gram: Tensor, damping: float) -> Tensor:
    """H = AᵀA + λI, so that dead channels leave it invertible."""
    return gram + ridge(gram, damping) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def refit(hessian: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """The best consumer on the kept channels, W_S = H_SS⁻¹ G_S: [kept, outputs] (Meng et al., ICML 2024)."""
    factor = torch.linalg.cholesky(hessian[kept][:, kept])
    return torch.cholesky_solve(targets[kept], factor)
