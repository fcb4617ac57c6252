"""One MLP made narrower: select, refit, measure what it cost."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pruning_core.osscar.elimination import eliminate
from pruning_core.osscar.moments import Moments

OBJECTIVE_TOLERANCE = 1e-4

Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class NarrowMlp:
    """The outcome of `narrow`.

    Attributes:
        kept: [kept], ascending indices of the channels that stay.
        weight: [kept, outputs], the consumer's rows for them, float64.
        bias: [outputs], the consumer's bias, float64; None where it has none.
        error: ‖Ŷ − Y‖² / ‖Y‖², where Y is what the dense consumer makes of the calibration activations, without
            its bias, and Ŷ what the narrow one does, with the change of the bias.
        precision: what the channels were eliminated in.
    """

    kept: Tensor
    weight: Tensor
    bias: Tensor | None
    error: float
    precision: Precision


def narrow(
    moments: Moments,
    weight: Tensor,
    bias: Tensor | None,
    *,
    keep: int,
    damping: float,
    drift_correction: float = 0.0,
) -> NarrowMlp:
    """Choose the channels of one MLP that stay and refit its consumer.

    The paper's target is the layer's own output AW. With Y, what would bring the residual stream back to the dense
    model's, the target is (1 − β) AW + βY: then G = HW + β (AᵀY − AᵀAW), the optimum on all channels is H⁻¹G, and the
    best rows on a set S of channels are H_SS⁻¹ G_S: ridge regression towards the dense W. A bias is refitted by
    centring A and the target.

    Args:
        moments: of the activations A and, if `drift_correction` is above 0, of Y.
        weight: [channels, outputs], the dense consumer W.
        bias: [outputs], the dense consumer's bias, which Y does not contain.
        keep: channels to keep.
        damping: λ as a share of the mean of AᵀA's diagonal.
        drift_correction: β, 0 to 1.
    """
    weight = weight.to(moments.gram)
    fitted = moments if bias is None else moments.centred()
    hessian = damp(fitted.gram, damping)
    targets, optimum = hessian @ weight, weight
    if drift_correction and fitted.cross is not None:
        targets = targets + drift_correction * (fitted.cross - fitted.gram @ weight)
        optimum = torch.cholesky_solve(targets, torch.linalg.cholesky(hessian))
    kept, refitted, precision = _select(hessian, targets, optimum, keep)
    change = -weight
    change[kept] += refitted
    shift = None
    if bias is not None:
        drift = moments.targets - moments.activations @ weight if moments.cross is not None else 0.0
        shift = (drift_correction * drift - moments.activations @ change) / moments.tokens
    return NarrowMlp(
        kept,
        refitted,
        bias=None if bias is None or shift is None else bias.to(shift) + shift,
        error=_relative_energy(moments, weight, change, shift),
        precision=precision,
    )


def _select(hessian: Tensor, targets: Tensor, optimum: Tensor, keep: int) -> tuple[Tensor, Tensor, Precision]:
    """Eliminate in float32, and again in float64 if float32 lost count of the objective.

    The rise of the objective that the eliminations added up is compared with the one between the two optima, from
    a float64 Cholesky factor of H_SS: they differ by as much as the downdated H⁻¹ and Gram matrix went astray.
    """
    start = (optimum * targets).sum()
    try:
        quick = eliminate(hessian.float(), optimum.float(), keep)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # torch does not list it
        pass
    else:
        weight = refit(hessian, targets, quick.kept)
        rise = (start - (weight * targets[quick.kept]).sum()).item()
        if abs(quick.rise - rise) <= OBJECTIVE_TOLERANCE * abs(rise):
            return quick.kept, weight, "float32"
    kept = eliminate(hessian, optimum, keep).kept
    return kept, refit(hessian, targets, kept), "float64"


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


def _relative_energy(moments: Moments, weight: Tensor, change: Tensor, shift: Tensor | None) -> float:
    """‖A C + 1sᵀ‖² / ‖AW‖² from the sums alone."""
    dense = _energy(moments.gram, weight)
    lost = _energy(moments.gram, change)
    if shift is not None:
        lost += (2 * (moments.activations @ change) @ shift + moments.tokens * shift.square().sum()).item()
    return lost / dense if dense > 0 else 0.0


def _energy(gram: Tensor, weight: Tensor) -> float:
    """‖AW‖² from AᵀA alone."""
    return (weight * (gram @ weight)).sum().item()
