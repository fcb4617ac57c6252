"""A race of cuts: scored on growing shares of the windows, the clearly worse drop out."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from pruning_core.depth.cuts import Cut
from pruning_core.depth.share import Share
from pruning_core.depth.sharing import Helpers, score_round
from pruning_core.depth.sweep import sweep_cost
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import NO_LEDGER, Ledger
from pruning_core.progress import CostModel, Meter
from pruning_core.shelf import Shelf

FIRST_ROUND_TOKENS = 256
"""Enough to tell the hopeless: without the first layers a model knows nothing."""

SECOND_ROUND_TOKENS = 1024
"""From here on rounds are whole windows, at least as many as hold so many tokens."""

OBSERVATIONS = 32
"""With fewer a mean is not near enough to a normal variable to exclude anybody."""

BLOCK = 32
"""Losses of neighbouring tokens go up and down together, so the mean of so many is one observation, or of fewer where
there would not be `OBSERVATIONS`."""

SMALLEST_BLOCK = 7
"""What the first round's tokens give; in shorter blocks neighbours would count as more than they tell."""


@dataclass(frozen=True)
class Standing:
    """How a cut stands.

    Attributes:
        cut: removed layers.
        loss: mean next-token loss over the first `tokens` predicted tokens, in nats.
        low: least loss on all windows, given the leader's, at the race's confidence.
        high: largest.
        tokens: how many it ran on.
        in_race: whether it may still be the best.
    """

    cut: Cut
    loss: float
    low: float
    high: float
    tokens: int
    in_race: bool


@dataclass(frozen=True)
class Round:
    """The windows `start` to `end`, of each the first `positions`."""

    start: int
    end: int
    positions: int


def plan_rounds(windows: int, sequence_length: int) -> list[Round]:
    """Plan the rounds: the beginning of the first window, about a thousand tokens, then twice as many again and again.

    The windows of a round go on behind those of the round before; the beginning of the first is run again with it.
    """
    ends = [min(windows, max(1, math.ceil(SECOND_ROUND_TOKENS / sequence_length)))]
    while ends[-1] < windows:
        ends.append(min(windows, 2 * ends[-1]))
    rounds = [Round(start, end, sequence_length) for start, end in itertools.pairwise([0, *ends])]
    if sequence_length >= 2 * FIRST_ROUND_TOKENS:
        rounds.insert(0, Round(0, 1, FIRST_ROUND_TOKENS))
    return rounds


def race_cost(layers: int, windows: Tensor, cuts: Sequence[Cut], costs: CostModel) -> float:
    """Cost of a race in which nobody drops out, in the units of `CostModel`."""
    return sum(_cost(layers, part, cuts, costs) for part in plan_rounds(*windows.shape))


def _cost(layers: int, part: Round, cuts: Sequence[Cut], costs: CostModel) -> float:
    return sweep_cost(layers, cuts, (part.end - part.start) * part.positions, costs)


def race(
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    *,
    confidence: float,
    costs: CostModel,
    meter: Meter,
    shelf: Shelf,
    on_round: Callable[[Sequence[Standing]], None],
    helpers: Helpers | None = None,
    ledger: Ledger = NO_LEDGER,
) -> list[Standing]:
    """Find the cut with the lowest loss on all windows, without running all cuts on all of them.

    After each round a cut drops out whose mean loss is above the leader's by more than chance explains: both read the
    same tokens, so the differences are paired, and the mean of `BLOCK` neighbouring ones is one observation. What the
    mean on all windows may still do shrinks with the windows that are left (finite population correction). The
    confidence is for the whole race: the bound of each comparison is Bonferroni's, over cuts and rounds.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        cuts: the candidates.
        confidence: that no cut drops out which is better than the leader, on all of these windows.
        costs: what a token costs.
        meter: told of each piece of work, and of work that is not needed any more; expects `race_cost`.
        shelf: where hidden states rest.
        on_round: told how the cuts stand after each round.
        helpers: who score shares of the rounds; the standings are the same without them.
        ledger: keeps what the rounds gave.

    Returns:
        The standing of every cut, the best first: by whether it is in the race, by tokens, by loss. A loss that is not
        finite drops out.
    """
    rounds = plan_rounds(*windows.shape)
    deviations = NormalDist().inv_cdf(1 - (1 - confidence) / (len(cuts) * len(rounds)))
    tokens = len(windows) * (windows.shape[1] - 1)
    losses: dict[Cut, Tensor] = {}
    standings: dict[Cut, Standing] = {}
    racing = list(cuts)
    for number, part in enumerate(rounds):
        whole = Share(cuts=tuple(racing), start=part.start, end=part.end, positions=part.positions)
        scored = score_round(model, windows, whole, meter, shelf, helpers, ledger)
        for cut, values in zip(racing, scored, strict=True):
            before = losses.get(cut) if part.start else None
            losses[cut] = values if before is None else torch.cat([before, values])
        current = _stand({cut: losses[cut] for cut in racing}, deviations, tokens)
        standings |= {standing.cut: standing for standing in current}
        staying = [standing.cut for standing in current if standing.in_race]
        # One alone has won: nobody needs to know its loss on the rest.
        needed = staying if len(staying) > 1 else []
        for later in rounds[number + 1 :]:
            meter.spare(_cost(len(model), later, racing, costs) - _cost(len(model), later, needed, costs))
        racing = needed
        on_round([standings[cut] for cut in cuts])
        if not racing:
            break
    return sorted(standings.values(), key=_rank)


def run_all(
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    *,
    meter: Meter,
    shelf: Shelf,
    helpers: Helpers | None = None,
    ledger: Ledger = NO_LEDGER,
) -> list[Standing]:
    """Score every cut on all windows, with helpers if there are any; the best first."""
    whole = Share(cuts=tuple(cuts), start=0, end=len(windows), positions=windows.shape[1])
    scored = score_round(model, windows, whole, meter, shelf, helpers, ledger)
    everything = dict(zip(cuts, scored, strict=True))
    return sorted(_stand(everything, math.inf, scored[0].numel()), key=_rank)


def _rank(standing: Standing) -> tuple[bool, int, float]:
    return not standing.in_race, -standing.tokens, standing.loss if math.isfinite(standing.loss) else math.inf


def _stand(losses: dict[Cut, Tensor], deviations: float, whole: int) -> list[Standing]:
    """The standings by these losses, [windows, positions], of a race over `whole` tokens."""
    means = {cut: values.double().mean().item() for cut, values in losses.items()}
    finite = [cut for cut, mean in means.items() if math.isfinite(mean)]
    leader = min(finite, key=means.__getitem__, default=None)
    standings = []
    for cut, values in losses.items():
        margin = 0.0
        if leader is not None and cut in finite and cut != leader:
            margin = _margin(values - losses[leader], deviations, whole)
        low, high = means[cut] - margin, means[cut] + margin
        in_race = cut in finite and leader is not None and low <= means[leader]
        standings.append(Standing(cut, means[cut], low, high, values.numel(), in_race))
    return standings


def _margin(differences: Tensor, deviations: float, whole: int) -> float:
    """How far the mean of [windows, positions] paired differences may be from that on all windows."""
    left = 1 - differences.numel() / whole
    block = min(BLOCK, differences.numel() // OBSERVATIONS)
    if left <= 0:
        return 0.0
    if block < SMALLEST_BLOCK:
        return math.inf
    # Not across the end of a window.
    used = differences[:, : differences.shape[1] // block * block]
    means = used.reshape(-1, block).double().mean(dim=1)
    return deviations * means.std().item() / math.sqrt(len(means)) * math.sqrt(left)
