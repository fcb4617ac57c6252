"""OSSCAR over a whole model: layer by layer, each calibrated on what the pruned layers before it give."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruning_core.errors import BrokenModelError
from pruning_core.events import LayerPruned, OnEvent, StageStarted
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.activations import ConsumerInputs, fit_in_cache
from pruning_core.osscar.layer import narrow
from pruning_core.osscar.probe import PerplexityProbe, ProbePlan
from pruning_core.progress import CostModel, Meter
from pruning_core.streaming import LayeredModel, Stream, batches


def width_cost(layers: int, calibration_tokens: int, costs: CostModel) -> float:
    """Cost of `prune_width` without its probe, in the units of `CostModel`, with the activations held."""
    return layers * (calibration_tokens * (1 + costs.gram + costs.change) + costs.solve)


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

    Each layer runs once over the calibration text. What the pruned layer gives, the next layer's input, is the dense
    output plus A(Ŵ − W), since an MLP's output is added to the residual stream; only where the activations A are too
    many to be held does the pruned layer run a second time.

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
    width = getattr(model.config, model.family.width_field)
    hold = fit_in_cache(windows.numel(), width, streams[0].hidden.dtype)
    follower = PerplexityProbe(model, probe_windows[: probe.windows], meter) if probe.windows else None

    on_event(StageStarted("pruning"))
    pruned: list[LayerPruned] = []
    for index in range(len(model)):
        if follower and index in probe.after_layers:
            on_event(follower.measure(index))
        started = time.monotonic()
        with model.open(index) as layer:
            channels = MlpChannels(layer, model.family.mlp)
            inputs = ConsumerInputs(channels.consumer, hold=hold)
            for stream in streams:
                dense = stream.run(layer, index)
                if hold:
                    stream.hidden = dense
                meter.layer(stream.tokens.numel())
                meter.gram(stream.tokens.numel())
            inputs.detach()
            _require_finite(inputs.gram, index)
            narrowed = narrow(inputs.gram, channels.consumer_weight(), keep, damping)
            channels.narrow(narrowed.kept, narrowed.weight)
            meter.solve()
            if hold:
                _apply_change(streams, inputs.batches, narrowed.change, meter)
            else:
                _run_again(streams, layer, index, meter)
            if follower:
                follower.advance(layer, index)
            model.store(index, layer)
        pruned.append(LayerPruned(index, narrowed.error, time.monotonic() - started))
        on_event(pruned[-1])
    setattr(model.config, model.family.width_field, keep)
    return pruned


def _apply_change(
    streams: Sequence[Stream], activations: Sequence[Tensor], change: Tensor, meter: Meter
) -> None:
    """Turn the dense layer's output into the pruned layer's, by A(Ŵ − W)."""
    for stream, batch in zip(streams, activations, strict=True):
        difference = batch @ change.to(batch.dtype)
        stream.hidden = stream.hidden + difference.view_as(stream.hidden)
        meter.change(len(batch))


def _run_again(streams: Sequence[Stream], layer: nn.Module, index: int, meter: Meter) -> None:
    for stream in streams:
        stream.hidden = stream.run(layer, index)
        meter.change(stream.tokens.numel())


def _require_finite(gram: Tensor, index: int) -> None:
    if not gram.isfinite().all():
        raise BrokenModelError(
            f"Activations of decoder layer {index} are not finite. "
            "float16 overflows in some families; ask for dtype bfloat16 or float32."
        )
