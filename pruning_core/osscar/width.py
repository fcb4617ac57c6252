"""OSSCAR over a whole model: layer by layer, each calibrated on what the pruned layers before it give."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from pruning_core.events import LayerPruned, OnEvent, PerplexityPoint, Precision, StageStarted
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import NO_LEDGER, Ledger
from pruning_core.models.attention import AttentionOutput
from pruning_core.models.layer_mlp import mlp_of
from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.layer import narrow
from pruning_core.osscar.probe import PerplexityProbe, ProbePlan
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import OsscarOptions
from pruning_core.repair.regression import Refit
from pruning_core.repair.visitors import Visitors, repair_cost
from pruning_core.shelf import Shelf


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
    shelf: Shelf,
    probe_windows: Tensor,
    probe: ProbePlan,
    meter: Meter,
    on_event: OnEvent,
    ledger: Ledger = NO_LEDGER,
) -> list[LayerPruned]:
    """Narrow every MLP of `model` to `keep` channels, in place.

    Each layer runs once over the calibration text as the layers before it leave it, beside its MLP, and once more over
    the dense model's hidden states if the drift is to be corrected. What the pruned layer gives, the next layer's
    input, is added up from what the run held; where the activations are too many to be held, the narrow MLP computes
    them again.

    Of a mixture of experts each is narrowed on the tokens that the router sends it, weighted as the router weights
    them, to one common width; the router stays. An expert that gets fewer tokens than these have dimensions is narrowed
    on all tokens of its layer. Layers with an ordinary MLP among mixtures stay as they are.

    Args:
        model: the dense model; pruned afterwards.
        windows: [windows, positions], calibration token ids; the last of them choose λ of the refit.
        keep: channels that stay in each MLP.
        options: see `recipe.OsscarOptions`.
        shelf: where hidden states rest.
        probe_windows: [windows, positions], evaluation token ids for the progress points.
        probe: how many of them, and when.
        meter: told of each piece of work.
        on_event: told of each pruned layer and each progress point.
        ledger: keeps each pruned layer; what is told of those that it has is told again.

    Returns:
        What each layer lost, in order.

    Raises:
        BrokenModelError: the activations of a layer are not finite.
    """
    on_event(StageStarted("calibrating"))
    visitors = Visitors(model, windows, options, shelf, meter)
    follower = PerplexityProbe(model, probe_windows[: probe.windows], meter, shelf) if probe.windows else None

    on_event(StageStarted("pruning"))
    told, first = _Told(on_event), 0
    walk = ledger.resume(meter)
    if walk is not None:
        first = walk.next_layer
        told.again(walk.told)
        visitors.restore(walk)
        if follower:
            follower.restore(walk)
    for index in range(first, len(model)):
        if follower and index in probe.after_layers:
            told(follower.measure(index))
        started = time.monotonic()
        with model.open(index) as layer:
            mlp = mlp_of(layer, model.family, model.config)
            if options.drift_correction:
                visitors.follow(layer, index)
            if options.attention_refit:
                visitors.refit_attention(layer, index, AttentionOutput(layer, model.family))
            if mlp.has_family_width:
                visitors.enter(layer, index, mlp)
                parts = [
                    _narrow(visitors, part, mlp.parts[part], keep, options) for part in range(len(mlp.parts))
                ]
                meter.solve()
                visitors.advance()
            else:
                visitors.run(layer, index)
            if follower:
                follower.advance(layer, index)
            model.store(index, layer)
        if mlp.has_family_width:
            told(_sum_up(index, parts, time.monotonic() - started))
        going_on = visitors.going_on() | (follower.going_on() if follower else {})
        ledger.commit(index + 1, told.as_json(), going_on, meter)
    setattr(model.config, model.family.width_field, keep)
    return told.layers


class _Told:
    """What the walk tells, and can tell again."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._events: list[LayerPruned | PerplexityPoint] = []

    def __call__(self, event: LayerPruned | PerplexityPoint) -> None:
        self._events.append(event)
        self._on_event(event)

    def again(self, told: Any) -> None:
        for event in _EVENTS.validate_python(told):
            self(event)

    def as_json(self) -> Any:
        return _EVENTS.dump_python(self._events, mode="json")

    @property
    def layers(self) -> list[LayerPruned]:
        return [event for event in self._events if isinstance(event, LayerPruned)]


_EVENTS: TypeAdapter[list[LayerPruned | PerplexityPoint]] = TypeAdapter(list[LayerPruned | PerplexityPoint])


@dataclass(frozen=True)
class _Part:
    """What became of one MLP: its refit, what its channels were chosen in, and ‖T‖² of its target."""

    refit: Refit
    precision: Precision
    energy: float


def _narrow(visitors: Visitors, part: int, channels: MlpChannels, keep: int, options: OsscarOptions) -> _Part:
    weight = channels.consumer_weight()
    observed = visitors.observe(part, drift_correction=options.drift_correction)
    narrowed = narrow(
        observed.moments,
        weight,
        keep=keep,
        damping=options.damping,
        refit_dampings=observed.dampings,
        held_out=observed.held_out,
        biased=channels.biased,
    )
    visitors.narrow(channels, narrowed.kept)
    final = visitors.improve(channels, weight[narrowed.kept], narrowed.refit)
    return _Part(final, narrowed.precision, observed.energy)


def _sum_up(layer: int, parts: Sequence[_Part], seconds: float) -> LayerPruned:
    """Of experts the error is that of all their targets together, and the ridge the middle one."""
    energy = sum(part.energy for part in parts)
    return LayerPruned(
        layer,
        error=sum(part.refit.error * part.energy for part in parts) / energy if energy else 0.0,
        precision="float64" if any(part.precision == "float64" for part in parts) else "float32",
        refit_damping=median_low(part.refit.damping for part in parts),
        seconds=seconds,
    )
