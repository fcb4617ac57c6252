"""The calibration windows in front of one decoder layer after the other, and what they teach its MLP."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core import budgets
from pruning_core.budgets import FIT_TOKENS_PER_INPUT
from pruning_core.finiteness import require_finite_activations
from pruning_core.layered_model import LayeredModel, batches
from pruning_core.ledger import Walk
from pruning_core.models.attention import AttentionOutput
from pruning_core.models.layer_mlp import LayerMlp
from pruning_core.models.mlp import MlpChannels
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import RepairOptions
from pruning_core.repair.moments import Moments, MomentSums
from pruning_core.repair.producers import Example, fit_producers
from pruning_core.repair.regression import Refit, refit
from pruning_core.repair.visits import Visitor
from pruning_core.shelf import Kept, Shelf

HELD_OUT_SHARE = 1 / 8
"""Of the calibration windows, those that choose λ of the refit."""

REFIT_DAMPINGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""What they choose from."""

REFIT_DAMPING = 0.01
"""Where there are too few windows to choose by."""


def repair_cost(tokens: int, options: RepairOptions, costs: CostModel) -> float:
    """Cost of one layer's visit from `observe` to `advance`, in the units of `CostModel`, with the activations held."""
    # What a refit of the attention sums up costs little beside the layer's run.
    token = 1 + options.attention_refit + costs.gram + costs.change
    if options.drift_correction or options.producer_steps:
        token += costs.change
    if not options.producer_steps:
        return tokens * token
    fit = options.producer_steps * min(tokens, costs.fit_tokens) * costs.fit
    return tokens * (token + costs.gram + 2 * costs.change) + fit


@dataclass(frozen=True)
class Observed:
    """What was seen of one MLP.

    Attributes:
        moments: of the windows that are fitted.
        held_out: of those that choose; None if there are none.
        dampings: λ of a refit, or those to choose from.
    """

    moments: Moments
    held_out: Moments | None
    dampings: Sequence[float]

    @property
    def energy(self) -> float:
        """‖T‖² on all of them."""
        return sum(moments.energy.item() for moments in (self.moments, self.held_out) if moments is not None)

    def refit(self, weight: Tensor, *, biased: bool) -> Refit:
        """Fit the consumer, whose `weight` is [channels, outputs], on all channels."""
        everything = torch.arange(len(weight), device=self.moments.gram.device)
        return refit(self.moments, self.held_out, weight, everything, self.dampings, biased=biased)


class Visitors:
    """Calibration windows on their way through the pruned model, some of which choose before they are fitted.

    At each layer: `follow`, and `refit_attention` if asked, if there is drift to repair; `enter`; for each part of the
    MLP `observe` and whatever changes it; `advance`. Or `run`.
    """

    def __init__(
        self, model: LayeredModel, windows: Tensor, options: RepairOptions, shelf: Shelf, meter: Meter
    ) -> None:
        """Embed the windows, [windows, positions]; the last of them are those that choose. The shelf keeps the rest."""
        self._options, self._meter = options, meter
        self._device, self._solver = model.device, shelf.solver
        self._held = windows.numel() * model.dtype.itemsize

        def visitors(windows: Tensor) -> list[Visitor]:
            return [
                Visitor(model.embed(tokens), shelf, meter, keep_examples=options.producer_steps > 0)
                for tokens in batches(windows, model.device)
            ]

        held_out = round(len(windows) * HELD_OUT_SHARE) if options.refit_damping is None else 0
        self._fitted = visitors(windows[: len(windows) - held_out])
        self._held_out = visitors(windows[len(windows) - held_out :]) if held_out else []

    def going_on(self) -> dict[str, Kept]:
        """What the windows take to the next layer."""
        return {
            f"windows.{number}.{name}": kept
            for number, visitor in enumerate(self._all())
            for name, kept in visitor.going_on().items()
        }

    def restore(self, walk: Walk) -> None:
        """Let the windows stand where they had come to."""
        for number, visitor in enumerate(self._all()):
            going_on = walk.under(f"windows.{number}.")
            visitor.restore({name: walk.tensor(whole).to(self._device) for name, whole in going_on.items()})

    def follow(self, layer: nn.Module, index: int) -> None:
        """Let the dense model's hidden states pass a dense layer."""
        for visitor in self._all():
            visitor.follow(layer, index)

    def run(self, layer: nn.Module, index: int) -> None:
        """Pass a layer that stays as it is."""
        for visitor in self._all():
            visitor.run(layer, index)

    def refit_attention(self, layer: nn.Module, index: int, attention: AttentionOutput) -> None:
        """Refit the attention's last linear, in place, so that it repairs its part of the drift: β of it.

        Raises:
            BrokenModelError: what the heads give is not finite.
        """
        weight, bias = attention.projection.weight, attention.projection.bias
        correction = self._options.drift_correction
        observed = self._sum(
            weight,
            lambda visitor, sums: visitor.observe_attention(layer, index, attention, sums, correction),
        )
        require_finite_activations(observed.moments.gram, index)
        refitted = observed.refit(weight, biased=bias is not None)
        shifted = bias if bias is None or refitted.shift is None else bias.to(refitted.shift) + refitted.shift
        attention.projection.set(refitted.weight, shifted)

    def enter(self, layer: nn.Module, index: int, mlp: LayerMlp) -> None:
        """Run the layer beside its MLP."""
        fits = self._held * mlp.parts[0].width <= budgets.ACTIVATION_CACHE_BYTES
        hold = fits and len(mlp.parts) == 1
        for visitor in self._all():
            visitor.enter(layer, index, mlp, hold=hold)
        self._layer, self._mlp = index, mlp
        # An expert with too few is calibrated on all tokens of the layer, with its own output as the target.
        self._routed = mlp.enough([visitor.routing for visitor in self._fitted])

    def observe(self, part: int, *, drift_correction: float) -> Observed:
        """Sum up what a part of the MLP gets and should give.

        The target is AW + βR, where A W is the part's own output, R its share of what brings the residual stream back
        to the dense hidden states that were followed, and β the drift correction; A W where none were.

        Raises:
            BrokenModelError: the activations are not finite.
        """
        routed, channels = self._routed[part], self._mlp.parts[part]
        observed = self._sum(
            channels.consumer_weight(),
            lambda visitor, sums: visitor.observe(
                part, sums, routed=routed, drift_correction=drift_correction if routed else 0.0
            ),
        )
        require_finite_activations(observed.moments.gram, self._layer)
        return observed

    def narrow(self, channels: MlpChannels, kept: Tensor) -> None:
        """Keep only the channels `kept` of a part, and of what is held."""
        channels.narrow(kept)
        for visitor in self._all():
            visitor.narrow(kept)

    def improve(self, channels: MlpChannels, weight: Tensor, refitted: Refit) -> Refit:
        """Give the consumer its refit; then fit the producers, if asked, and refit again.

        A fit that does worse on the windows that choose is undone.

        Args:
            channels: the part that was observed.
            weight: [channels, outputs], that the ridge pulls towards.
            refitted: the consumer's refit.

        Returns:
            The refit that stays.
        """
        channels.refit(refitted.weight, refitted.shift)
        if not self._options.producer_steps:
            return refitted
        producers = channels.read_producers()
        fit_producers(
            channels,
            self._examples(channels.inputs),
            steps=self._options.producer_steps,
            refit_damping=refitted.damping,
            shift=refitted.shift,
            solver=self._solver,
        )
        rows = sum(visitor.rows for visitor in self._all())
        steps, experts = self._options.producer_steps, len(self._mlp.parts)
        self._meter.fit(rows / self._mlp.chosen, steps, experts=experts)
        observed = self._sum(
            channels.consumer_weight(), lambda visitor, sums: visitor.observe_again(channels, sums)
        )
        again = observed.refit(weight, biased=refitted.shift is not None)
        if _error(again) < _error(refitted):
            channels.refit(again.weight, _difference(again.shift, refitted.shift))
            return again
        channels.write_producers(producers)
        for visitor in self._all():
            visitor.forget_activations()
        return refitted

    def advance(self) -> None:
        """Put the changed parts into the layer, and move every window behind it."""
        self._mlp.write()
        for visitor in self._all():
            visitor.advance()

    def _examples(self, inputs: int) -> list[Example]:
        fitted = sum(visitor.rows for visitor in self._fitted)
        every = max(1, fitted // (FIT_TOKENS_PER_INPUT * inputs))
        examples = [visitor.example(every) for visitor in self._fitted]
        return [example for example in examples if example is not None]

    def _all(self) -> Iterator[Visitor]:
        return itertools.chain(self._fitted, self._held_out)

    def _sum(self, weight: Tensor, observe: Callable[[Visitor, MomentSums], None]) -> Observed:
        def total(visitors: Sequence[Visitor]) -> Moments | None:
            sums = MomentSums(len(weight), weight.shape[1], self._solver)
            for visitor in visitors:
                observe(visitor, sums)
            return sums.total(weight) if sums.tokens else None

        moments, held_out = total(self._fitted), total(self._held_out)
        assert moments is not None  # noqa: S101  every calibration has a window
        if held_out is None:
            return Observed(moments, None, (self._options.refit_damping or REFIT_DAMPING,))
        return Observed(moments, held_out, REFIT_DAMPINGS)


def _error(refitted: Refit) -> float:
    return refitted.error if refitted.held_out_error is None else refitted.held_out_error


def _difference(now: Tensor | None, before: Tensor | None) -> Tensor | None:
    return now if now is None or before is None else now - before
