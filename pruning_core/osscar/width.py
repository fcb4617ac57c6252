"""OSSCAR over a whole model: layer by layer, each calibrated on what the pruned layers before it give."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pruning_core.budgets import FIT_TOKENS_PER_INPUT
from pruning_core.events import LayerPruned, OnEvent, StageStarted
from pruning_core.finiteness import require_finite_activations
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.activations import fit_in_cache
from pruning_core.osscar.layer import NarrowMlp, narrow
from pruning_core.osscar.moments import Moments, MomentSums
from pruning_core.osscar.probe import PerplexityProbe, ProbePlan
from pruning_core.osscar.producers import fit_producers
from pruning_core.osscar.regression import Refit, refit
from pruning_core.osscar.visits import Visitor
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import OsscarOptions
from pruning_core.streaming import LayeredModel, batches

HELD_OUT_SHARE = 1 / 8
"""Of the calibration windows, those that choose λ of the refit."""

REFIT_DAMPINGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""What they choose from."""


def width_cost(layers: int, calibration_tokens: int, options: OsscarOptions, costs: CostModel) -> float:
    """Cost of `prune_width` without its probe, in the units of `CostModel`, with the activations held."""
    token = 1 + costs.gram + costs.change
    layer = costs.solve
    if options.drift_correction:
        token += 1
    if options.drift_correction or options.producer_steps:
        token += costs.change
    if options.producer_steps:
        token += costs.gram + 2 * costs.change
        layer += options.producer_steps * min(calibration_tokens, costs.fit_tokens) * costs.fit
    return layers * (calibration_tokens * token + layer)


@torch.no_grad()
def prune_width(
    model: LayeredModel,
    windows: Tensor,
    *,
    keep: int,
    options: OsscarOptions,
    probe_windows: Tensor,
    probe: ProbePlan,
    meter: Meter,
    on_event: OnEvent,
) -> list[LayerPruned]:
    """Narrow every MLP of `model` to `keep` channels, in place.

    Each layer runs once over the calibration text as the layers before it leave it, beside its MLP's consumer, and once
    more over the dense model's hidden states if the drift is to be corrected. What the pruned layer gives, the next
    layer's input, is added up from what the run held; only where the activations are too many to be held does the
    pruned layer run again.

    Args:
        model: the dense model; pruned afterwards.
        windows: [windows, positions], calibration token ids; the last of them choose λ of the refit.
        keep: channels that stay in each MLP.
        options: see `recipe.OsscarOptions`.
        probe_windows: [windows, positions], evaluation token ids for the progress points.
        probe: how many of them, and when.
        meter: told of each piece of work.
        on_event: told of each pruned layer and each progress point.

    Returns:
        What each layer lost, in order.

    Raises:
        BrokenModelError: the activations of a layer are not finite.
    """
    on_event(StageStarted("calibrating"))
    calibration = _Calibration(model, windows, options, meter)
    follower = PerplexityProbe(model, probe_windows[: probe.windows], meter) if probe.windows else None

    on_event(StageStarted("pruning"))
    pruned: list[LayerPruned] = []
    for index in range(len(model)):
        if follower and index in probe.after_layers:
            on_event(follower.measure(index))
        started = time.monotonic()
        with model.open(index) as layer:
            channels = MlpChannels(layer, model.family.mlp)
            narrowed, final = calibration.narrow(layer, index, channels, keep=keep)
            calibration.advance(layer, index, channels)
            if follower:
                follower.advance(layer, index)
            model.store(index, layer)
        pruned.append(
            LayerPruned(index, final.error, narrowed.precision, final.damping, time.monotonic() - started)
        )
        on_event(pruned[-1])
    setattr(model.config, model.family.width_field, keep)
    return pruned


class _Calibration:
    """The calibration windows in front of one layer after the other."""

    def __init__(self, model: LayeredModel, windows: Tensor, options: OsscarOptions, meter: Meter) -> None:
        self._options, self._meter = options, meter
        hold = fit_in_cache(windows.numel(), getattr(model.config, model.family.width_field), model.dtype)

        def visitors(windows: Tensor) -> list[Visitor]:
            return [
                Visitor(
                    model.embed(tokens),
                    meter,
                    drift_correction=options.drift_correction,
                    keep_examples=options.producer_steps > 0,
                    hold=hold,
                )
                for tokens in batches(windows, model.device)
            ]

        self._tokens = windows.numel()
        held_out = _held_out_windows(len(windows), options)
        self._fitted = visitors(windows[: len(windows) - held_out])
        self._held_out = visitors(windows[len(windows) - held_out :]) if held_out else []

    def narrow(
        self, layer: nn.Module, index: int, channels: MlpChannels, *, keep: int
    ) -> tuple[NarrowMlp, Refit]:
        """Choose channels, refit the consumer, and fit the producers if asked; say how it began and how it ended."""
        options, weight = self._options, channels.consumer_weight()
        dampings = REFIT_DAMPINGS if self._held_out else [options.refit_damping or options.damping]
        biased = channels.consumer.bias is not None
        moments, held_out = self._observe(
            channels, lambda visitor, sums: visitor.observe(layer, index, channels, sums)
        )
        require_finite_activations(moments.gram, index)
        narrowed = narrow(
            moments,
            weight,
            keep=keep,
            damping=options.damping,
            refit_dampings=dampings,
            held_out=held_out,
            biased=biased,
        )
        self._meter.solve()
        for visitor in (*self._fitted, *self._held_out):
            visitor.narrow(narrowed.kept)
        channels.narrow(narrowed.kept)
        channels.refit(narrowed.refit.weight, narrowed.refit.shift)
        if not options.producer_steps:
            return narrowed, narrowed.refit
        return narrowed, self._fit_producers(channels, weight[narrowed.kept], narrowed.refit, dampings)

    def _fit_producers(
        self, channels: MlpChannels, weight: Tensor, before: Refit, dampings: Sequence[float]
    ) -> Refit:
        """Fit the producers and then the consumer again, unless that is worse on windows that it was not fitted to."""
        producers = channels.read_producers()
        tokens = sum(visitor.tokens for visitor in self._fitted)
        every = max(1, tokens // (FIT_TOKENS_PER_INPUT * channels.producers[0].in_features))
        fit_producers(
            channels,
            [visitor.example(every) for visitor in self._fitted],
            steps=self._options.producer_steps,
            refit_damping=before.damping,
            shift=before.shift,
        )
        self._meter.fit(self._tokens, self._options.producer_steps)
        moments, held_out = self._observe(
            channels, lambda visitor, sums: visitor.observe_narrow(channels, sums)
        )
        everything = torch.arange(len(weight), device=weight.device)
        after = refit(moments, held_out, weight, everything, dampings, biased=before.shift is not None)
        if _error(after) < _error(before):
            shift = after.shift if before.shift is None or after.shift is None else after.shift - before.shift
            channels.refit(after.weight, shift)
            return after
        channels.write_producers(producers)
        for visitor in (*self._fitted, *self._held_out):
            visitor.forget_activations()
        return before

    def _observe(
        self, channels: MlpChannels, observe: Callable[[Visitor, MomentSums], None]
    ) -> tuple[Moments, Moments | None]:
        """The moments of the windows that are fitted, and of those that choose."""
        weight = channels.consumer_weight()

        def total(visitors: Sequence[Visitor]) -> Moments:
            sums = MomentSums(len(weight), weight.shape[1], weight.device)
            for visitor in visitors:
                observe(visitor, sums)
            return sums.total(weight)

        return total(self._fitted), total(self._held_out) if self._held_out else None

    def advance(self, layer: nn.Module, index: int, channels: MlpChannels) -> None:
        """Move every window behind the narrow layer."""
        for visitor in (*self._fitted, *self._held_out):
            visitor.advance(layer, index, channels)


def _held_out_windows(windows: int, options: OsscarOptions) -> int:
    """How many windows choose λ of the refit, and whether fitted producers stay, before they are fitted themselves."""
    return round(windows * HELD_OUT_SHARE) if options.refit_damping is None else 0


def _error(refitted: Refit) -> float:
    return refitted.error if refitted.held_out_error is None else refitted.held_out_error
