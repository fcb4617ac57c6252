"""Depth pruning: find the layers, take them out, heal what stays."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pruning_core.depth.cuts import Cut, consecutive_cuts
from pruning_core.depth.heal import heal, heal_cost, name_of_trial
from pruning_core.depth.removal import remove_layers
from pruning_core.depth.search import search_cost, search_cuts
from pruning_core.depth.sharing import Helpers
from pruning_core.errors import BrokenModelError
from pruning_core.events import CandidateScored, LayerHealed, OnEvent, StageStarted
from pruning_core.finiteness import OVERFLOW_REMEDY
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import NO_LEDGER, Ledger
from pruning_core.perplexity import exponentiate
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthOptions
from pruning_core.shelf import Shelf

TRIAL_EVERY = 4
"""The leaders are healed on one in so many of the windows that heal the chosen one."""


def trial_options(options: DepthOptions) -> DepthOptions:
    """How the leaders are healed: by refits alone, for a fit takes nearly as long in a trial as for good."""
    return options.model_copy(update={"producer_steps": 0})


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
    return search_cost(layers, remove, search_windows, options, costs) + trials + final


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

    def most(windows: Tensor, options: DepthOptions) -> float:
        tokens, followed = windows.numel(), search_windows.numel()
        return max(
            heal_cost(layers, cut, tokens=tokens, follower_tokens=followed, options=options, costs=costs)
            for cut in cuts
        )

    trials = _trials(options, layers - remove + 1)
    return trials * most(heal_windows[::TRIAL_EVERY], trial_options(dearest)), most(heal_windows, dearest)


def prune_depth(
    model: LayeredModel,
    *,
    remove: int,
    search_windows: Tensor,
    heal_windows: Tensor,
    options: DepthOptions,
    shelf: Shelf,
    costs: CostModel,
    meter: Meter,
    on_event: OnEvent,
    helpers: Helpers | None = None,
    ledger: Ledger = NO_LEDGER,
) -> DepthOutcome:
    """Remove `remove` decoder layers from `model`, in place, and heal what stays.

    The best `options.leaders` candidates of the search are healed by refits on a share of the windows that heal, and
    the one whose perplexity on the search windows is lowest afterwards is healed on all of them. So the choice is made
    among healed models, on windows that healed none of them.

    Args:
        model: the dense model; pruned afterwards.
        remove: decoder layers to remove.
        search_windows: [windows, positions] token ids that choose.
        heal_windows: [windows, positions] token ids that heal.
        options: see `recipe.DepthOptions`.
        shelf: where hidden states rest.
        costs: what a token costs.
        meter: told of each piece of work; expects `depth_cost`.
        on_event: told of each candidate's standing and each healed layer.
        helpers: who score shares of the search.
        ledger: keeps what rounds of the search and trials gave, and each healed layer.

    Raises:
        BrokenModelError: no candidate has a finite perplexity, the activations of a layer are not finite, or no heal
            leaves a finite perplexity. Who asked for a healed model is not given an unhealed one without a word; the
            error names the best cut, so that nobody needs to search for it again.
    """
    on_event(StageStarted("pruning"))
    candidates = search_cuts(
        model,
        search_windows,
        remove,
        options=options,
        costs=costs,
        meter=meter,
        shelf=shelf,
        on_event=on_event,
        helpers=helpers,
        ledger=ledger,
    )
    healed: list[LayerHealed] = []
    if options.heal != "none":
        trials, final = _heal_costs(len(model), remove, search_windows, heal_windows, options, costs)
        trial, repair = (
            _Healing(model, search_windows, windows, how, shelf, costs, meter, ledger, keep=keep)
            for windows, how, keep in (
                (heal_windows[::TRIAL_EVERY], trial_options(options), False),
                (heal_windows, options, True),
            )
        )
        leaders = candidates[: _trials(options, len(candidates))]
        trial.spare(trials, leaders)
        tried = []
        for leader in leaders:
            tried.append(trial.heal(leader)[0])
            on_event(tried[-1])
        if tried:
            _require_a_healed_one(tried, options)
        candidates = sorted(tried, key=_healed_perplexity) + candidates[len(tried) :]
        repair.spare(final, candidates[:1])
        candidates[0], healed = repair.heal(candidates[0])
        on_event(candidates[0])
        _require_a_healed_one(candidates[:1], options)
        for layer in healed:
            on_event(layer)
    remove_layers(model, candidates[0].layers)
    return DepthOutcome(candidates[0].layers, candidates, healed)


class _Healing:
    """One way to heal cuts of one model: on which windows, how, and whether for good."""

    def __init__(  # noqa: PLR0917  most are `prune_depth`'s
        self,
        model: LayeredModel,
        search_windows: Tensor,
        heal_windows: Tensor,
        options: DepthOptions,
        shelf: Shelf,
        costs: CostModel,
        meter: Meter,
        ledger: Ledger,
        *,
        keep: bool,
    ) -> None:
        self._ledger = ledger
        self._model, self._options, self._costs, self._meter = model, options, costs, meter
        self._search_windows, self._heal_windows = search_windows, heal_windows
        self._shelf, self._keep = shelf, keep

    def heal(self, candidate: CandidateScored) -> tuple[CandidateScored, list[LayerHealed]]:
        """Give the candidate with its healed perplexity on the search windows, and what was healed."""
        if self._keep:
            loss, healed = self._heal(candidate.layers)
        else:
            loss, healed = self._ledger.recall(
                "trial-" + "-".join(map(str, candidate.layers)),
                tuple[float, list[LayerHealed]],
                lambda: self._heal(candidate.layers),
                self._meter,
            )
            self._ledger.finish(name_of_trial(candidate.layers))
        return dataclasses.replace(candidate, healed=exponentiate(loss)), healed

    def _heal(self, cut: Cut) -> tuple[float, list[LayerHealed]]:
        return heal(
            self._model,
            cut,
            self._heal_windows,
            follower=self._search_windows,
            options=self._options,
            shelf=self._shelf,
            keep=self._keep,
            meter=self._meter,
            ledger=self._ledger,
        )

    def spare(self, expected: float, candidates: Sequence[CandidateScored]) -> None:
        """Tell the meter by how much these are cheaper than what was announced."""
        cost = sum(
            heal_cost(
                len(self._model),
                candidate.layers,
                tokens=self._heal_windows.numel(),
                follower_tokens=self._search_windows.numel(),
                options=self._options,
                costs=self._costs,
            )
            for candidate in candidates
        )
        self._meter.spare(expected - cost)


def _trials(options: DepthOptions, candidates: int) -> int:
    """How many leaders are healed before one is chosen; nobody needs a trial who is alone."""
    leaders = min(options.leaders, candidates)
    return leaders if leaders > 1 and options.layers is None else 0


def _require_a_healed_one(tried: Sequence[CandidateScored], options: DepthOptions) -> None:
    """Refuse to go on where no heal gave a model that can be measured.

    Args:
        tried: what was healed, the best of the search first.
        options: how.
    """
    if all(math.isinf(_healed_perplexity(candidate)) for candidate in tried):
        best = list(tried[0].layers)
        raise BrokenModelError(
            f'No heal (options.heal = "{options.heal}") leaves a model with a finite perplexity. Ask for options.heal '
            f'"none" and options.layers {best}, the best that was tried, or for a larger options.refit_damping. '
            f"{OVERFLOW_REMEDY}"
        )


def _healed_perplexity(candidate: CandidateScored) -> float:
    return candidate.healed if candidate.healed is not None and math.isfinite(candidate.healed) else math.inf
