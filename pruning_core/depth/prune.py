"""Depth pruning: find the layers, take them out, heal what stays."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pruning_core.depth.cuts import Cut, consecutive_cuts
from pruning_core.depth.heal import heal, heal_cost
from pruning_core.depth.removal import remove_layers
from pruning_core.depth.search import search_cost, search_cuts
from pruning_core.events import CandidateScored, LayerHealed, OnEvent, StageStarted
from pruning_core.perplexity import exponentiate
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthOptions
from pruning_core.streaming import LayeredModel

TRIAL_EVERY = 4
"""The leaders are healed on one in so many of the windows that heal the chosen one."""


@dataclass(frozen=True)
class DepthOutcome:
    """What was removed, every candidate, the chosen one first, and what was healed."""

    removed: Cut
    candidates: list[CandidateScored]
    healed: list[LayerHealed]


def depth_cost(
    layers: int,
    remove: int,
    *,
    search_windows: Tensor,
    heal_windows: Tensor,
    options: DepthOptions,
    costs: CostModel,
) -> float:
    """Cost of `prune_depth` in the units of `CostModel`, if the race drops nobody and the dearest cuts are healed."""
    trials, final = _heal_costs(layers, remove, search_windows, heal_windows, options, costs)
    return search_cost(layers, remove, search_windows.numel(), options, costs) + trials + final


def _heal_costs(  # noqa: PLR0917  the same as its caller's
    layers: int,
    remove: int,
    search_windows: Tensor,
    heal_windows: Tensor,
    options: DepthOptions,
    costs: CostModel,
) -> tuple[float, float]:
    """At most, of all trials and of the final heal."""
    if options.heal == "none":
        return 0.0, 0.0
    dearest = options
    if options.layers is not None:
        cuts = [tuple(sorted(options.layers))]
    elif options.selection == "consecutive":
        cuts = consecutive_cuts(layers, remove)
    else:
        # No cut heals more than one that heals every layer.
        cuts, dearest = [tuple(range(remove))], options.model_copy(update={"heal": "all"})

    def most(windows: Tensor) -> float:
        tokens, followed = windows.numel(), search_windows.numel()
        return max(
            heal_cost(layers, cut, tokens=tokens, follower_tokens=followed, options=dearest, costs=costs)
            for cut in cuts
        )

    trials = _trials(options, layers - remove + 1)
    return trials * most(heal_windows[::TRIAL_EVERY]), most(heal_windows)


def prune_depth(
    model: LayeredModel,
    *,
    remove: int,
    search_windows: Tensor,
    heal_windows: Tensor,
    options: DepthOptions,
    costs: CostModel,
    meter: Meter,
    on_event: OnEvent,
) -> DepthOutcome:
    """Remove `remove` decoder layers from `model`, in place, and heal what stays.

    The best `options.leaders` candidates of the search are healed, each on a share of the windows that heal, and the
    one whose perplexity on the search windows is lowest afterwards is healed on all of them. So the choice is made
    among healed models, on windows that healed none of them.

    Args:
        model: the dense model; pruned afterwards.
        remove: decoder layers to remove.
        search_windows: [windows, positions] token ids that choose.
        heal_windows: [windows, positions] token ids that heal.
        options: see `recipe.DepthOptions`.
        costs: what a token costs.
        meter: told of each piece of work; expects `depth_cost`.
        on_event: told of each candidate's standing and each healed layer.

    Raises:
        BrokenModelError: no candidate has a finite perplexity, or the activations of a layer are not finite.
    """
    on_event(StageStarted("pruning"))
    candidates = search_cuts(
        model, search_windows, remove, options=options, costs=costs, meter=meter, on_event=on_event
    )
    healed: list[LayerHealed] = []
    if options.heal != "none":
        repair = _Repair(model, search_windows, heal_windows, options, costs, meter)
        expected = _heal_costs(len(model), remove, search_windows, heal_windows, options, costs)
        tried = repair.try_leaders(candidates, expected[0], on_event)
        candidates = tried + candidates[len(tried) :]
        candidates[0], healed = repair.heal(candidates[0], expected[1])
        on_event(candidates[0])
        for layer in healed:
            on_event(layer)
    remove_layers(model, candidates[0].layers)
    return DepthOutcome(candidates[0].layers, candidates, healed)


class _Repair:
    """Heals cuts of one model, and tells the meter of work that was announced for dearer ones."""

    def __init__(  # noqa: PLR0917  the same as `prune_depth`'s
        self,
        model: LayeredModel,
        search_windows: Tensor,
        heal_windows: Tensor,
        options: DepthOptions,
        costs: CostModel,
        meter: Meter,
    ) -> None:
        self._model, self._options, self._costs, self._meter = model, options, costs, meter
        self._search_windows, self._heal_windows = search_windows, heal_windows

    def try_leaders(
        self, candidates: Sequence[CandidateScored], expected: float, on_event: OnEvent
    ) -> list[CandidateScored]:
        """Heal the best on a share of the windows, and rank them by what comes of it."""
        leaders = candidates[: _trials(self._options, len(candidates))]
        windows = self._heal_windows[::TRIAL_EVERY]
        self._meter.spare(expected - sum(self._cost(leader, windows) for leader in leaders))
        tried = []
        for leader in leaders:
            loss, _ = self._heal(leader, windows, keep=False)
            tried.append(dataclasses.replace(leader, healed=exponentiate(loss)))
            on_event(tried[-1])
        return sorted(tried, key=_healed_perplexity)

    def heal(self, candidate: CandidateScored, expected: float) -> tuple[CandidateScored, list[LayerHealed]]:
        """Heal the chosen one on all windows, in place."""
        self._meter.spare(expected - self._cost(candidate, self._heal_windows))
        loss, healed = self._heal(candidate, self._heal_windows, keep=True)
        return dataclasses.replace(candidate, healed=exponentiate(loss)), healed

    def _heal(
        self, candidate: CandidateScored, windows: Tensor, *, keep: bool
    ) -> tuple[float, list[LayerHealed]]:
        return heal(
            self._model,
            candidate.layers,
            windows,
            follower=self._search_windows,
            options=self._options,
            keep=keep,
            meter=self._meter,
        )

    def _cost(self, candidate: CandidateScored, windows: Tensor) -> float:
        return heal_cost(
            len(self._model),
            candidate.layers,
            tokens=windows.numel(),
            follower_tokens=self._search_windows.numel(),
            options=self._options,
            costs=self._costs,
        )


def _trials(options: DepthOptions, candidates: int) -> int:
    """How many leaders are healed before one is chosen; nobody needs a trial who is alone."""
    leaders = min(options.leaders, candidates)
    return leaders if leaders > 1 and options.layers is None else 0


def _healed_perplexity(candidate: CandidateScored) -> float:
    return candidate.healed if candidate.healed is not None and math.isfinite(candidate.healed) else math.inf
