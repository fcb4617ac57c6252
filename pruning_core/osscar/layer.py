"""One MLP made narrower: which channels stay, and what the consumer makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pruning_core.events import Precision
from pruning_core.osscar.selection import select
from pruning_core.repair.moments import Moments
from pruning_core.repair.regression import Refit, Regression, refit


@dataclass(frozen=True)
class NarrowMlp:
    """The outcome of `narrow`.

    Attributes:
        kept: [kept], ascending indices of the channels that stay.
        precision: what the channels were eliminated in.
        refit: the consumer on them.
    """

    kept: Tensor
    precision: Precision
    refit: Refit


def narrow(
    moments: Moments,
    weight: Tensor,
    *,
    keep: int,
    damping: float,
    refit_dampings: Sequence[float],
    held_out: Moments | None = None,
    biased: bool = False,
) -> NarrowMlp:
    """Choose the channels of one MLP that stay, and refit its consumer to them.

    With H = AᵀA + λI and G = AᵀT + λW the optimum on all channels is H⁻¹G, and the best rows on a set S of channels are
    H_SS⁻¹ G_S: ridge regression towards the dense W.

    Args:
        moments: of the activations A and the target T.
        weight: [channels, outputs], the dense consumer W.
        keep: channels to keep.
        damping: λ while channels are chosen, as a share of the mean of AᵀA's diagonal.
        refit_dampings: the same for the refit, or several for `held_out` to choose from.
        held_out: moments of further tokens. They choose the refit's λ, and then are fitted with the others.
        biased: whether the consumer has a bias.
    """
    whole = moments if held_out is None else moments + held_out
    kept, precision = select(Regression.of(whole, weight, centre=biased), keep, damping)
    refitted = refit(moments, held_out, weight, kept, refit_dampings, biased=biased)
    return NarrowMlp(kept, precision, refitted)
