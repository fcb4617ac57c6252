"""Depth pruning: the run of consecutive decoder layers whose loss hurts perplexity least."""

import math

from torch import Tensor

from pruning_core.depth.removal import remove_layers
from pruning_core.depth.sweep import score_runs
from pruning_core.errors import BrokenModelError
from pruning_core.events import CandidateScored, OnEvent, StageStarted
from pruning_core.finiteness import OVERFLOW_REMEDY
from pruning_core.perplexity import exponentiate
from pruning_core.progress import Meter
from pruning_core.streaming import LayeredModel


def prune_depth(
    model: LayeredModel, windows: Tensor, *, remove: int, meter: Meter, on_event: OnEvent
) -> list[CandidateScored]:
    """Remove from `model`, in place, the run of `remove` layers without which perplexity is lowest.

    Args:
        model: the dense model; pruned afterwards.
        windows: [windows, positions], calibration token ids.
        remove: consecutive decoder layers to remove.
        meter: told of each piece of work.
        on_event: told of each candidate.

    Returns:
        Every candidate, the best first. A candidate whose perplexity is not finite never wins.

    Raises:
        BrokenModelError: no candidate has a finite perplexity.
    """
    on_event(StageStarted("pruning"))
    candidates = [
        CandidateScored(
            layers=tuple(range(start, start + remove)),
            perplexity=exponentiate(loss),
            windows=len(windows),
        )
        for start, loss in enumerate(score_runs(model, windows, remove, meter))
    ]
    for candidate in candidates:
        on_event(candidate)
    candidates.sort(key=lambda c: c.perplexity if math.isfinite(c.perplexity) else math.inf)
    if not math.isfinite(candidates[0].perplexity):
        raise BrokenModelError(
            f"No run of {remove} layers leaves a model with a finite perplexity. {OVERFLOW_REMEDY}"
        )
    remove_layers(model, candidates[0].layers)
    return candidates
