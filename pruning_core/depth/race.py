"""A race of cuts: scored on growing shares of the windows, the clearly worse drop out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from pruning_core.depth.cuts import Cut
from pruning_core.depth.sweep import score_cuts, sweep_cost
from pruning_core.progress import CostModel, Meter
from pruning_core.streaming import LayeredModel

FIRST_ROUND_TOKENS = 1024
BLOCK = 32
"""Losses of neighbouring tokens go up and down together, so their mean is one observation."""

MINIMUM_BLOCKS = 30
"""With fewer observations a mean is not near enough to a normal variable to exclude anybody."""


@dataclass(frozen=True)
class Standing:
    """How a cut stands.

    Attributes:
        cut: removed layers.
        loss: mean next-token loss on the first `windows` windows, in nats.
        low: least loss on all windows, given the leader's, at the race's confidence.
        high: largest.
        windows: how many it ran on.
        in_race: whether it may still be the best.
    """

    cut: Cut
    loss: float
    low: float
    high: float
    windows: int
    in_race: bool


def rounds(windows: int, sequence_length: int) -> list[int]:
    """How many windows have been run at the end of each round: at first about a thousand tokens, then twice as many."""
    ends = [min(windows, max(1, math.ceil(FIRST_ROUND_TOKENS / sequence_length)))]
    while ends[-1] < windows:
        ends.append(min(windows, 2 * ends[-1]))
    return ends


def race(
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    *,
    confidence: float | None,
    costs: CostModel,
    meter: Meter,
    on_round: Callable[[Sequence[Standing]], None],
) -> list[Standing]:
    """Find the cut with the lowest loss on all windows, without running all cuts on all of them.

    After each round a cut drops out whose mean loss is above the leader's by more than chance explains: both read the
    same tokens, so the differences are paired, and the mean of `BLOCK` neighbouring ones is one observation. The
    confidence is for the whole race: the bound of each comparison is Bonferroni's, over cuts and rounds.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        cuts: the candidates.
        confidence: that no cut drops out which is better than the leader; None runs all cuts on all windows at once.
        costs: what a token costs.
        meter: told of each piece of work, and of work that is not needed any more; expects the cost of all rounds.
        on_round: told how the cuts stand after each round.

    Returns:
        The standing of every cut: those in the race first, then by loss. A loss that is not finite drops out.
    """
    ends = rounds(*windows.shape) if confidence is not None else [len(windows)]
    deviations = _deviations(confidence, comparisons=len(cuts) * len(ends))
    losses: dict[Cut, Tensor] = {cut: torch.empty(0, windows.shape[1] - 1) for cut in cuts}
    standings: dict[Cut, Standing] = {}
    racing, run = list(cuts), 0
    for end in ends:
        part = windows[run:end]
        for cut, scored in zip(racing, score_cuts(model, part, racing, meter), strict=True):
            losses[cut] = torch.cat([losses[cut], scored])
        run = end
        standings |= {
            standing.cut: standing for standing in _stand({c: losses[c] for c in racing}, deviations)
        }
        staying = [cut for cut in racing if standings[cut].in_race]
        left = windows[run:].numel()
        # One alone has won: nobody needs to know its loss on the rest.
        needed = staying if len(staying) > 1 else []
        meter.spare(sweep_cost(len(model), racing, left, costs) - sweep_cost(len(model), needed, left, costs))
        racing = needed
        on_round([standings[cut] for cut in cuts])
        if not racing:
            break
    return sorted(
        standings.values(), key=lambda s: (not s.in_race, s.loss if math.isfinite(s.loss) else math.inf)
    )


def _deviations(confidence: float | None, comparisons: int) -> float:
    """Standard deviations that a mean must be above the leader's to drop out."""
    return math.inf if confidence is None else NormalDist().inv_cdf(1 - (1 - confidence) / comparisons)


def _stand(losses: dict[Cut, Tensor], deviations: float) -> list[Standing]:
    means = {cut: values.double().mean().item() for cut, values in losses.items()}
    finite = [cut for cut, mean in means.items() if math.isfinite(mean)]
    leader = min(finite, key=means.__getitem__, default=None)
    standings = []
    for cut, values in losses.items():
        low = high = means[cut]
        if leader is not None and cut in finite and cut != leader:
            error = _standard_error(values - losses[leader])
            margin = math.inf if math.isinf(deviations) else deviations * error
            low, high = means[cut] - margin, means[cut] + margin
        in_race = cut in finite and leader is not None and low <= means[leader]
        standings.append(Standing(cut, means[cut], low, high, len(values), in_race))
    return standings


def _standard_error(differences: Tensor) -> float:
    """Of the mean of [windows, positions] paired differences; infinite where they are too few to tell."""
    whole = differences.shape[1] // BLOCK * BLOCK
    blocks = differences[:, :whole].reshape(-1, BLOCK).double().mean(dim=1)
    if len(blocks) < MINIMUM_BLOCKS:
        return math.inf
    return blocks.std().item() / math.sqrt(len(blocks))
