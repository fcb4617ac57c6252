"""OSSCAR over a whole model: layer by layer, each calibrated on what the pruned layers before it give."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruning_core.events import LayerPruned, OnEvent, StageStarted
from pruning_core.finiteness import require_finite_activations
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.activations import fit_in_cache
from pruning_core.osscar.layer import NarrowMlp, narrow
from pruning_core.osscar.moments import Moments, MomentSums
from pruning_core.osscar.probe import PerplexityProbe, ProbePlan
from pruning_core.osscar.visits import Visitor
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import OsscarOptions
from pruning_core.streaming import LayeredModel, batches

RIDGE_SHARE = 1 / 8
"""Of the calibration windows, those that choose λ of the refit."""


def width_cost(layers: int, calibration_tokens: int, options: OsscarOptions, costs: CostModel) -> float:
    """Cost of `prune_width` without its probe, in the units of `CostModel`, with the activations held."""
    token = 1 + costs.gram + costs.change
    if options.drift_correction:
        token += 1 + costs.change
    return layers * (calibration_tokens * token + costs.solve)


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
    width = getattr(model.config, model.family.width_field)
    hold = fit_in_cache(windows.numel(), width, model.dtype)

    def visit(windows: Tensor) -> list[Visitor]:
        return [
            Visitor(model.embed(tokens), meter, follow_dense=options.drift_correction > 0, hold=hold)
            for tokens in batches(windows, model.device)
        ]

    choosing = _ridge_windows(len(windows), options)
    groups = [visit(part) for part in windows.split([len(windows) - choosing, choosing]) if len(part)]
    visitors = [visitor for group in groups for visitor in group]
    follower = PerplexityProbe(model, probe_windows[: probe.windows], meter) if probe.windows else None

    on_event(StageStarted("pruning"))
    pruned: list[LayerPruned] = []
    for index in range(len(model)):
        if follower and index in probe.after_layers:
            on_event(follower.measure(index))
        started = time.monotonic()
        with model.open(index) as layer:
            channels = MlpChannels(layer, model.family.mlp)
            narrowed = _narrow(groups, layer, index, channels, keep=keep, options=options)
            meter.solve()
            for visitor in visitors:
                visitor.advance(layer, index, channels, narrowed.kept)
            if follower:
                follower.advance(layer, index)
            model.store(index, layer)
        seconds = time.monotonic() - started
        pruned.append(LayerPruned(index, narrowed.error, narrowed.precision, narrowed.refit_damping, seconds))
        on_event(pruned[-1])
    setattr(model.config, model.family.width_field, keep)
    return pruned


def _ridge_windows(windows: int, options: OsscarOptions) -> int:
    """How many windows choose λ of the refit before they are fitted."""
    return round(windows * RIDGE_SHARE) if options.refit_damping is None else 0


def _narrow(
    groups: Sequence[Sequence[Visitor]],
    layer: nn.Module,
    index: int,
    channels: MlpChannels,
    *,
    keep: int,
    options: OsscarOptions,
) -> NarrowMlp:
    consumer = channels.consumer
    moments: list[Moments] = []
    for visitors in groups:
        sums = MomentSums(consumer.in_features, consumer.out_features, consumer.weight.device)
        for visitor in visitors:
            visitor.observe(layer, index, consumer, sums)
        moments.append(sums.total())
        require_finite_activations(moments[-1].gram, index)
    narrowed = narrow(
        moments[0],
        channels.consumer_weight(),
        consumer.bias,
        keep=keep,
        damping=options.damping,
        refit_damping=options.refit_damping,
        held_out=moments[1] if len(moments) > 1 else None,
        drift_correction=options.drift_correction,
    )
    channels.narrow(narrowed.kept, narrowed.weight, narrowed.bias)
    return narrowed
