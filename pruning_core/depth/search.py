"""Find the decoder layers whose loss hurts least."""

import math
from collections.abc import Sequence

from torch import Tensor

from pruning_core.depth.cuts import Cut, consecutive_cuts, cuts_of_one_more
from pruning_core.depth.influence import block_influences
from pruning_core.depth.race import Standing, race, race_cost, run_all
from pruning_core.depth.sharing import Helpers
from pruning_core.depth.sweep import sweep_cost
from pruning_core.errors import BrokenModelError
from pruning_core.events import CandidateScored, OnEvent
from pruning_core.finiteness import OVERFLOW_REMEDY
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import NO_LEDGER, Ledger
from pruning_core.perplexity import exponentiate
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthOptions
from pruning_core.shelf import Shelf


def search_cost(layers: int, remove: int, windows: Tensor, options: DepthOptions, costs: CostModel) -> float:
    """Cost of `search_cuts` in the units of `CostModel`, if the race drops nobody."""
    if options.layers is not None:
        return 0.0
    if options.score == "block_influence":
        return windows.numel() * layers

    def of(cuts: Sequence[Cut]) -> float:
        if options.search == "race":
            return race_cost(layers, windows, cuts, costs)
        return sweep_cost(layers, cuts, windows.numel(), costs)

    if options.selection == "consecutive":
        return of(consecutive_cuts(layers, remove))
    # Greedy steps cost more the earlier in the model the layers go that went before; this takes them as late ones.
    return sum(of(cuts_of_one_more(layers, tuple(range(layers - gone, layers)))) for gone in range(remove))


def search_cuts(
    model: LayeredModel,
    windows: Tensor,
    remove: int,
    *,
    options: DepthOptions,
    costs: CostModel,
    meter: Meter,
    shelf: Shelf,
    on_event: OnEvent,
    helpers: Helpers | None = None,
    ledger: Ledger = NO_LEDGER,
) -> list[CandidateScored]:
    """Rank the cuts that remove so many layers.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        remove: decoder layers to remove.
        options: what to rank, by what; see `recipe.DepthOptions`. Its `layers` are the only candidate, unmeasured.
        costs: what a token costs.
        meter: told of each piece of work; expects `search_cost`.
        shelf: where hidden states rest.
        on_event: told how each candidate stands, again after each round of a race.
        helpers: who score shares of the perplexities.
        ledger: keeps what the rounds gave.

    Returns:
        Every candidate, the best first; of a greedy selection those of the last step.

    Raises:
        BrokenModelError: no candidate has a finite perplexity.
    """
    if options.layers is not None:
        return [CandidateScored(tuple(sorted(options.layers)), perplexity=None)]
    if options.score == "block_influence":
        return _rank_by_influence(
            model, windows, consecutive_cuts(len(model), remove), meter, shelf, on_event, ledger
        )

    def best_first(cuts: Sequence[Cut]) -> list[CandidateScored]:
        return _race(model, windows, cuts, options, costs, meter, shelf, on_event, helpers, ledger)

    if options.selection == "consecutive":
        return best_first(consecutive_cuts(len(model), remove))
    removed: Cut = ()
    for _ in range(remove):
        ranked = best_first(cuts_of_one_more(len(model), removed))
        removed = ranked[0].layers
    return ranked


def _rank_by_influence(  # noqa: PLR0917  the same as its caller's
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    meter: Meter,
    shelf: Shelf,
    on_event: OnEvent,
    ledger: Ledger,
) -> list[CandidateScored]:
    influences = ledger.recall(
        "influences", list[float], lambda: block_influences(model, windows, cuts, meter, shelf), meter
    )
    ranked = [
        CandidateScored(cut, perplexity=None, block_influence=influence)
        for influence, cut in sorted(zip(influences, cuts, strict=True))
        if math.isfinite(influence)
    ]
    if not ranked:
        raise BrokenModelError(f"No run of layers has a finite block influence. {OVERFLOW_REMEDY}")
    for candidate in ranked:
        on_event(candidate)
    return ranked


def _race(  # noqa: PLR0917  the same as its caller's
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    options: DepthOptions,
    costs: CostModel,
    meter: Meter,
    shelf: Shelf,
    on_event: OnEvent,
    helpers: Helpers | None,
    ledger: Ledger,
) -> list[CandidateScored]:
    def tell(standings: Sequence[Standing]) -> None:
        for standing in standings:
            on_event(candidate_of(standing))

    if options.search == "race":
        standings = race(
            model,
            windows,
            cuts,
            confidence=options.confidence,
            costs=costs,
            meter=meter,
            shelf=shelf,
            on_round=tell,
            helpers=helpers,
            ledger=ledger,
        )
    else:
        standings = run_all(model, windows, cuts, meter=meter, shelf=shelf, helpers=helpers, ledger=ledger)
        tell(standings)
    ranked = [candidate_of(standing) for standing in standings]
    if not math.isfinite(standings[0].loss):
        raise BrokenModelError(
            f"None of the {len(cuts)} ways to remove {len(cuts[0])} layers leaves a model with a finite perplexity. "
            f"{OVERFLOW_REMEDY}"
        )
    return ranked


def _bound(loss: float) -> float | None:
    """A bound that excludes nothing is none."""
    return exponentiate(loss) if math.isfinite(loss) else None


def candidate_of(standing: Standing) -> CandidateScored:
    """Losses as perplexities."""
    return CandidateScored(
        layers=standing.cut,
        perplexity=exponentiate(standing.loss),
        low=_bound(standing.low),
        high=_bound(standing.high),
        tokens=standing.tokens,
        in_race=standing.in_race,
    )
