"""One MLP made narrower: select, refit, measure what it cost."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruning_core.events import Precision
from pruning_core.osscar.elimination import eliminate
from pruning_core.osscar.moments import Moments
from pruning_core.osscar.regression import Regression, choose_damping, refit

OBJECTIVE_TOLERANCE = 1e-4


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
        refit_damping: λ of the refit, as a share of the mean of AᵀA's diagonal.
    """

    kept: Tensor
    weight: Tensor
    bias: Tensor | None
    error: float
    precision: Precision
    refit_damping: float


def narrow(
    moments: Moments,
    weight: Tensor,
    bias: Tensor | None,
    *,
    keep: int,
    damping: float,
    refit_damping: float | None = None,
    drift_correction: float = 0.0,
    held_out: Moments | None = None,
) -> NarrowMlp:
    """Choose the channels of one MLP that stay and refit its consumer.

    The paper's target is the layer's own output AW. With Y, what would bring the residual stream back to the dense
    model's, the target is T = (1 − β) AW + βY. With H = AᵀA + λI and G = AᵀT + λW the optimum on all channels is H⁻¹G,
    and the best rows on a set S of channels are H_SS⁻¹ G_S: ridge regression towards the dense W. A bias is refitted
    by centring A and T.

    Args:
        moments: of the activations A and, if `drift_correction` is above 0, of Y.
        weight: [channels, outputs], the dense consumer W.
        bias: [outputs], the dense consumer's bias, which Y does not contain.
        keep: channels to keep.
        damping: λ while channels are chosen, as a share of the mean of AᵀA's diagonal.
        refit_damping: λ of the refit; None for what does best on `held_out`, or `damping` without that.
        drift_correction: β, 0 to 1.
        held_out: moments of further tokens. They choose λ, and then are fitted with the others.
    """
    weight = weight.to(moments.gram)

    def regression_on(part: Moments) -> Regression:
        return Regression.of(part, weight, drift_correction, centre=bias is not None)

    whole = moments if held_out is None else moments + held_out
    regression = regression_on(whole)
    kept, precision = _select(regression, keep, damping)
    if refit_damping is None:
        refit_damping = (
            damping
            if held_out is None
            else choose_damping(regression_on(moments), regression_on(held_out), kept)
        )
    refitted = regression.solve(kept, refit_damping)
    change = -weight
    change[kept] += refitted
    shift = None
    if bias is not None:
        drift = whole.targets - whole.activations @ weight if whole.cross is not None else 0.0
        shift = (drift_correction * drift - whole.activations @ change) / whole.tokens
    return NarrowMlp(
        kept,
        refitted,
        bias=None if bias is None or shift is None else bias.to(shift) + shift,
        error=_relative_energy(whole, weight, change, shift),
        precision=precision,
        refit_damping=refit_damping,
    )


def _select(regression: Regression, keep: int, damping: float) -> tuple[Tensor, Precision]:
    """Eliminate in float32, and again in float64 if float32 lost count of the objective.

    The rise of the objective that the eliminations added up is compared with the one between the two optima, from
    a float64 Cholesky factor of H_SS: they differ by as much as the downdated H⁻¹ and Gram matrix went astray.
    """
    hessian, targets = regression.system(damping)
    optimum = torch.cholesky_solve(targets, torch.linalg.cholesky(hessian))
    try:
        quick = eliminate(hessian.float(), optimum.float(), keep)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # torch does not list it
        pass
    else:
        weight = refit(hessian, targets, quick.kept)
        rise = ((optimum * targets).sum() - (weight * targets[quick.kept]).sum()).item()
        if abs(quick.rise - rise) <= OBJECTIVE_TOLERANCE * abs(rise):
            return quick.kept, "float32"
    return eliminate(hessian, optimum, keep).kept, "float64"


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
