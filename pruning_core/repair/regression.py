"""The least squares behind the refit: what the consumer should give, on which channels, how strongly held back."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pruning_core.repair.moments import Moments

MORE_DAMPING = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Tried one after the other where H has no Cholesky factor, as shares of the mean of its diagonal."""


@dataclass(frozen=True)
class Regression:
    """Ridge regression of a target T on the activations A, towards a weight W.

    Attributes:
        gram: [channels, channels], AᵀA.
        cross: [channels, outputs], AᵀT.
        energy: scalar, ‖T‖².
        weight: [channels, outputs], W.
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor
    weight: Tensor

    @classmethod
    def of(cls, moments: Moments, weight: Tensor, *, centre: bool) -> "Regression":
        """Regress on these moments, or on those of A and T less their means if a bias is fitted as well."""
        moments = moments.centred() if centre else moments
        return cls(moments.gram, moments.cross, moments.energy, weight.to(moments.gram))

    def system(self, damping: float) -> tuple[Tensor, Tensor]:
        """H = AᵀA + λI and G = AᵀT + λW, so that H⁻¹G is the ridge solution on all channels."""
        return damp(self.gram, damping), self.cross + ridge(self.gram, damping) * self.weight

    def solve(self, kept: Tensor, damping: float) -> Tensor:
        """The ridge solution on the kept channels, [kept, outputs]."""
        return solve_on(*self.system(damping), kept)

    def error(self, kept: Tensor, rows: Tensor) -> float:
        """‖A_S V − T‖² for rows V of the kept channels."""
        fitted = self.gram[kept][:, kept] @ rows
        return (self.energy + (rows * (fitted - 2 * self.cross[kept])).sum()).clamp(min=0).item()


@dataclass(frozen=True)
class Refit:
    """A consumer fitted to its activations.

    Attributes:
        weight: [kept, outputs], float64.
        shift: [outputs], what its bias gains, float64; None where it has none.
        error: ‖Ŷ − T‖² / ‖T‖² on all tokens.
        held_out_error: the same on tokens that it was not fitted to; None where λ was given.
        damping: λ as a share of the mean of AᵀA's diagonal.
    """

    weight: Tensor
    shift: Tensor | None
    error: float
    held_out_error: float | None
    damping: float


def refit(
    moments: Moments,
    held_out: Moments | None,
    weight: Tensor,
    kept: Tensor,
    dampings: Sequence[float],
    *,
    biased: bool,
) -> Refit:
    """Fit the consumer on the kept channels: W_S = H_SS⁻¹ G_S (Meng et al., ICML 2024), or the like for T.

    Args:
        moments: of some tokens.
        held_out: of others. They choose between the `dampings`, and then are fitted with the first.
        weight: [channels, outputs], that the ridge pulls towards.
        kept: [kept], indices of the channels that stay.
        dampings: one λ, or several if there is something to choose by.
        biased: whether the consumer has a bias; it is fitted by centring A and T.
    """
    whole = moments if held_out is None else moments + held_out
    held_out_error = None
    (damping, *others) = dampings
    if held_out is not None:
        fitted, unseen = (Regression.of(part, weight, centre=biased) for part in (moments, held_out))
        errors = {damping: unseen.error(kept, fitted.solve(kept, damping)) for damping in dampings}
        damping = min(errors, key=errors.__getitem__)
        held_out_error = _share(errors[damping], held_out.energy)
    elif others:
        raise ValueError("several ridges, and no held-out tokens to choose by")
    regression = Regression.of(whole, weight, centre=biased)
    rows = regression.solve(kept, damping)
    return Refit(
        weight=rows,
        shift=(whole.targets - whole.activations[kept] @ rows) / whole.tokens if biased else None,
        error=_share(regression.error(kept, rows), whole.energy),
        held_out_error=held_out_error,
        damping=damping,
    )


def _share(error: float, energy: Tensor) -> float:
    return error / energy.item() if energy > 0 else 0.0


def ridge(gram: Tensor, damping: float) -> Tensor:
    """λ = damping · mean diag AᵀA, a scalar."""
    mean = gram.diagonal().mean()
    # An MLP that calibration never woke has a Gram matrix of zeros, and any ridge is as good as another.
    return torch.where(mean > 0, damping * mean, 1.0)


def damp(gram: Tensor, damping: float) -> Tensor:
    """H = AᵀA + λI, so that dead channels leave it invertible."""
    return _raise_diagonal(gram, ridge(gram, damping))


def solve_on(hessian: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """H_SS⁻¹ G_S: [kept, outputs]."""
    _, factor = factorise(hessian[kept][:, kept])
    return torch.cholesky_solve(targets[kept], factor)


def factorise(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """H and its Cholesky factor; with as much more on H's diagonal as the factor needs to exist.

    Products of float32 activations leave H's small eigenvalues uncertain, and a λ below that can leave one negative.
    """
    mean = hessian.diagonal().mean()
    for more in MORE_DAMPING:
        damped = _raise_diagonal(hessian, more * mean)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return damped, factor
    raise torch.linalg.LinAlgError(  # type: ignore[attr-defined]  # torch does not list it
        "AᵀA is far from positive semidefinite"
    )


def _raise_diagonal(matrix: Tensor, by: Tensor) -> Tensor:
    raised = matrix.clone()
    raised.diagonal().add_(by)
    return raised
