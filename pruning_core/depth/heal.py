"""Closed-form repair of a model that lost decoder layers: the MLPs around the cut learn to do without them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from pruning_core.depth.cuts import Cut
from pruning_core.events import LayerHealed
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import CHANGING, NO_LEDGER, Ledger, Walk
from pruning_core.models.attention import AttentionOutput
from pruning_core.models.layer_mlp import has_described_mlp, mlp_of
from pruning_core.perplexity import loss_sum, predictions
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthOptions
from pruning_core.repair.visitors import Visitors, repair_cost
from pruning_core.resting import RestingStream, embedded
from pruning_core.shelf import Kept, Shelf

Heal = Literal["none", "boundary", "all"]

_HEALED = TypeAdapter(list[LayerHealed])


@dataclass(frozen=True)
class Step:
    """What the calibration windows do at one kept layer.

    Attributes:
        layer: its index.
        followed: the layers that the dense hidden states pass first; none while they are the cut model's own.
        at_boundary: whether removed layers come next, or were all that came before.
        healed: whether the MLP is refitted.
    """

    layer: int
    followed: range
    at_boundary: bool
    healed: bool


def plan_heal(layers: int, cut: Cut, heal: Heal) -> list[Step]:
    """Plan the healing of the last kept layer before each run of removed ones, and with `all` of every kept one behind.

    Where nothing is kept before a run, it is the first kept behind it. Layers behind the last healed one have no step.
    """
    if heal == "none":
        return []
    kept = [index for index in range(layers) if index not in cut]
    boundaries = {index for index in kept if index + 1 in cut}
    if cut[0] == 0:
        boundaries.add(kept[0])
    # Up to here both models are one.
    passed = max(0, cut[0] - 1)
    first, last = min(boundaries), max(boundaries) if heal == "boundary" else kept[-1]
    steps = []
    for index in (index for index in kept if index <= last):
        if index < first:
            steps.append(Step(index, range(0), at_boundary=False, healed=False))
            continue
        end = next(behind for behind in range(index + 1, layers + 1) if behind not in cut)
        at_boundary = index in boundaries
        steps.append(Step(index, range(passed, end), at_boundary, healed=heal == "all" or at_boundary))
        passed = end
    return steps


def heal_cost(
    layers: int, cut: Cut, *, tokens: int, follower_tokens: int, options: DepthOptions, costs: CostModel
) -> float:
    """Cost of `heal`, in the units of `CostModel`."""
    cost = follower_tokens * (layers - len(cut) + costs.head)
    for step in plan_heal(layers, cut, options.heal):
        cost += tokens * len(step.followed)
        cost += repair_cost(tokens, options, costs) if step.healed else tokens
    return cost


@torch.no_grad()
def heal(
    model: LayeredModel,
    cut: Cut,
    windows: Tensor,
    *,
    follower: Tensor,
    options: DepthOptions,
    shelf: Shelf,
    keep: bool,
    meter: Meter,
    ledger: Ledger = NO_LEDGER,
) -> tuple[float, list[LayerHealed]]:
    """Refit the MLPs around a cut so that the hidden states without its layers meet the dense model's.

    The MLP before a run of removed layers is solved for what brings the residual stream to where the dense model has it
    behind them: ΔW = (AᵀA + λI)⁻¹ Aᵀ(X_dense − X_cut). Those further on are solved for a blend of that with their own
    output, `drift_correction`, because the whole way would follow the calibration text. Each layer is solved on what
    the healed layers before it give; then its producers are fitted. No shape changes. Layers whose MLP is not described
    stay as they are.

    Args:
        model: the dense model. The layers of the cut stay in place.
        cut: removed layers.
        windows: [windows, positions] token ids that are fitted; the last of them choose ridges.
        follower: [windows, positions] token ids whose loss behind the healed layers is measured.
        options: see `recipe.DepthOptions`.
        shelf: where hidden states rest.
        keep: whether healed layers replace the model's, or are forgotten.
        meter: told of each piece of work.
        ledger: keeps how far it has come, and each healed layer where these replace the model's.

    Returns:
        Mean next-token loss of the healed model on the follower, in nats, and what was healed.

    Raises:
        BrokenModelError: the activations of a layer are not finite.
    """
    steps = {step.layer: step for step in plan_heal(len(model), cut, options.heal)}
    visitors = Visitors(model, windows, options, shelf, meter)
    followers = embedded(model, follower, shelf)
    first, healed = 0, list[LayerHealed]()
    name = CHANGING if keep else name_of_trial(cut)
    walk = ledger.resume(meter, name)
    if walk is not None:
        first, healed = walk.next_layer, _HEALED.validate_python(walk.told)
        _restore(visitors, followers, walk)
    for index in (index for index in range(first, len(model)) if index not in cut):
        step = steps.get(index)
        if step is not None:
            for passed in step.followed:
                with model.open(passed) as layer:
                    visitors.follow(layer, passed)
        with model.open(index) as dense:
            layer = dense
            if step is not None and step.healed and has_described_mlp(dense, model.family):
                layer = dense if keep else copy.deepcopy(dense)
                healed.append(_heal_layer(layer, step, model, visitors, options))
                if keep:
                    model.store(index, layer)
            elif step is not None:
                visitors.run(layer, index)
            for stream in followers:
                stream.advance(layer, index)
            meter.layer(follower.numel())
        if ledger.due or (keep and step is not None and step.healed):
            told = _HEALED.dump_python(healed, mode="json")
            ledger.commit(index + 1, told, _going_on(visitors, followers), meter, name)
    loss = sum(loss_sum(model, stream.hidden, stream.tokens) for stream in followers)
    meter.head(follower.numel())
    return loss / predictions(follower), healed


def name_of_trial(cut: Cut) -> str:
    """What the ledger calls the walk of a heal that is forgotten."""
    return "walk-without-" + "-".join(map(str, cut))


def _going_on(visitors: Visitors, followers: Sequence[RestingStream]) -> dict[str, Kept]:
    resting = {f"followers.{number}": stream.rest() for number, stream in enumerate(followers)}
    return visitors.going_on() | resting


def _restore(visitors: Visitors, followers: Sequence[RestingStream], walk: Walk) -> None:
    visitors.restore(walk)
    for number, stream in enumerate(followers):
        stream.restore(walk.tensor(f"followers.{number}"))


def _heal_layer(
    layer: nn.Module, step: Step, model: LayeredModel, visitors: Visitors, options: DepthOptions
) -> LayerHealed:
    mlp = mlp_of(layer, model.family, model.config)
    if options.attention_refit:
        visitors.refit_attention(layer, step.layer, AttentionOutput(layer, model.family))
    visitors.enter(layer, step.layer, mlp)
    drift_correction = 1.0 if step.at_boundary else options.drift_correction
    missed = energy = 0.0
    dampings = []
    for part, channels in enumerate(mlp.parts):
        weight = channels.consumer_weight()
        observed = visitors.observe(part, drift_correction=drift_correction)
        refitted = observed.refit(weight, biased=channels.biased)
        final = visitors.improve(channels, weight, refitted)
        missed, energy = missed + final.error * observed.energy, energy + observed.energy
        dampings.append(final.damping)
    visitors.advance()
    return LayerHealed(step.layer, missed / energy if energy else 0.0, median_low(dampings))
