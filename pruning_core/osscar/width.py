"""OSSCAR over a whole model: layer by layer, each calibrated on what the pruned layers before it give."""

import time

import torch
from torch import Tensor

from pruning_core.events import LayerPruned, OnEvent, StageStarted
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.layer import narrow
from pruning_core.osscar.probe import PerplexityProbe, ProbePlan
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import OsscarOptions
from pruning_core.repair.visitors import Visitors, repair_cost
from pruning_core.streaming import LayeredModel


def width_cost(layers: int, calibration_tokens: int, options: OsscarOptions, costs: CostModel) -> float:
    """Cost of `prune_width` without its probe, in the units of `CostModel`, with the activations held."""
    followed = calibration_tokens if options.drift_correction else 0
    return layers * (followed + repair_cost(calibration_tokens, options, costs) + costs.solve)


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
    visitors = Visitors(model, windows, options, meter)
    follower = PerplexityProbe(model, probe_windows[: probe.windows], meter) if probe.windows else None

    on_event(StageStarted("pruning"))
    pruned: list[LayerPruned] = []
    for index in range(len(model)):
        if follower and index in probe.after_layers:
            on_event(follower.measure(index))
        started = time.monotonic()
        with model.open(index) as layer:
            channels = MlpChannels(layer, model.family.mlp)
            weight = channels.consumer_weight()
            if options.drift_correction:
                visitors.follow(layer, index)
            moments, held_out = visitors.observe(
                layer, index, channels, drift_correction=options.drift_correction
            )
            narrowed = narrow(
                moments,
                weight,
                keep=keep,
                damping=options.damping,
                refit_dampings=visitors.dampings,
                held_out=held_out,
                biased=channels.consumer.bias is not None,
            )
            meter.solve()
            visitors.narrow(channels, narrowed.kept)
            final = visitors.improve(channels, weight[narrowed.kept], narrowed.refit)
            visitors.advance(layer, index, channels)
            if follower:
                follower.advance(layer, index)
            model.store(index, layer)
        seconds = time.monotonic() - started
        pruned.append(LayerPruned(index, final.error, narrowed.precision, final.damping, seconds))
        on_event(pruned[-1])
    setattr(model.config, model.family.width_field, keep)
    return pruned
