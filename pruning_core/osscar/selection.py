"""Which channels of an MLP stay."""

import torch
from torch import Tensor

from pruning_core.events import Precision
from pruning_core.osscar.elimination import eliminate
from pruning_core.repair.regression import Regression, factorise, solve_on

OBJECTIVE_TOLERANCE = 1e-4


def select(regression: Regression, keep: int, damping: float) -> tuple[Tensor, Precision]:
    """Choose `keep` channels, and say in what precision that was possible.

    Eliminates in float32, and again in float64 if float32 lost count of the objective: the rise that the eliminations
    added up is compared with the one between the two optima, from a float64 Cholesky factor of H_SS. They differ by as
    much as the downdated H⁻¹ and Gram matrix went astray.

    Args:
        regression: of the target on all channels.
        keep: channels to keep.
        damping: λ, as a share of the mean of AᵀA's diagonal.

    Returns:
        [keep], ascending indices, and the precision.
    """
    hessian, targets = regression.system(damping)
    hessian, factor = factorise(hessian)
    optimum = torch.cholesky_solve(targets, factor)
    try:
        quick = eliminate(hessian.float(), optimum.float(), keep)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # torch does not list it
        pass
    else:
        weight = solve_on(hessian, targets, quick.kept)
        rise = ((optimum * targets).sum() - (weight * targets[quick.kept]).sum()).item()
        if abs(quick.rise - rise) <= OBJECTIVE_TOLERANCE * abs(rise):
            return quick.kept, "float32"
    return eliminate(hessian, optimum, keep).kept, "float64"
