"""OSSCAR over a whole model: layer by layer, each calibrated on what the pruned layers before it give."""

import time

import torch
from torch import Tensor

from pruning_core.errors import BrokenModelError
from pruning_core.events import LayerPruned, OnEvent, StageStarted
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.gram import GramMatrix
from pruning_core.osscar.layer import narrow
from pruning_core.osscar.probe import PerplexityProbe, ProbePlan
from pruning_core.progress import CostModel, Meter
from pruning_core.streaming import LayeredModel, batches


def width_cost(layers: int, calibration_tokens: int, costs: CostModel) -> float:
    """Cost of `prune_width` without its probe, in the units of `CostModel`."""
    return layers * (calibration_tokens * (2 + costs.gram) + costs.solve)


@torch.no_grad()
def prune_width(
    model: LayeredModel,
    windows: Tensor,
    *,
    keep: int,
    damping: float,
    probe_windows: Tensor,
    probe: ProbePlan,
    meter: Meter,
    on_event: OnEvent,
) -> list[LayerPruned]:
    """Narrow every MLP of `model` to `keep` channels, in place.

    Args:
        model: the dense model; pruned afterwards.
        windows: [windows, positions], calibration token ids.
        keep: channels that stay in each MLP.
        damping: λ as a share of the mean diagonal of AᵀA.
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
    streams = [model.embed(batch) for batch in batches(windows)]
    follower = PerplexityProbe(model, probe_windows[: probe.windows]) if probe.windows else None

    on_event(StageStarted("pruning"))
    pruned: list[LayerPruned] = []
    for index in range(len(model)):
        if follower and index in probe.after_layers:
            on_event(follower.measure(index))
        started = time.monotonic()
        with model.open(index) as layer:
            channels = MlpChannels(layer, model.family.mlp)
            gram = GramMatrix(channels.consumer)
            for stream in streams:
                stream.run(layer, index)
                meter.layer(stream.tokens.numel())
                meter.gram(stream.tokens.numel())
            gram.detach()
            if not gram.value.isfinite().all():
                raise BrokenModelError(
                    f"Activations of decoder layer {index} are not finite. "
                    "float16 overflows in some families; ask for dtype bfloat16 or float32."
                )
            narrowed = narrow(gram.value, channels.consumer_weight(), keep, damping)
            channels.narrow(narrowed.kept, narrowed.weight)
            meter.solve()
            for stream in streams:
                stream.hidden = stream.run(layer, index)
                meter.layer(stream.tokens.numel())
            if follower:
                follower.advance(layer, index)
            model.store(index, layer)
        pruned.append(LayerPruned(index, narrowed.error, time.monotonic() - started))
        on_event(pruned[-1])
    setattr(model.config, model.family.width_field, keep)
    return pruned
