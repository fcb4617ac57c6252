"""The calibration windows in front of one decoder layer after the other, and what they teach its MLP."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from pruning_core.budgets import FIT_TOKENS_PER_INPUT
from pruning_core.finiteness import require_finite_activations
from pruning_core.models.mlp import MlpChannels
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import RepairOptions
from pruning_core.repair.activations import fit_in_cache
from pruning_core.repair.moments import Moments, MomentSums
from pruning_core.repair.producers import Example, fit_producers
from pruning_core.repair.regression import Refit, refit
from pruning_core.repair.visits import Visitor
from pruning_core.streaming import LayeredModel, batches

HELD_OUT_SHARE = 1 / 8
"""Of the calibration windows, those that choose λ of the refit."""

REFIT_DAMPINGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""What they choose from."""

REFIT_DAMPING = 0.01
"""Where there are too few windows to choose by."""


def repair_cost(tokens: int, options: RepairOptions, costs: CostModel) -> float:
    """Cost of one layer's visit from `observe` to `advance`, in the units of `CostModel`, with the activations held."""
    token = 1 + costs.gram + costs.change
    if options.drift_correction or options.producer_steps:
        token += costs.change
    if not options.producer_steps:
        return tokens * token
    fit = options.producer_steps * min(tokens, costs.fit_tokens) * costs.fit
    return tokens * (token + costs.gram + 2 * costs.change) + fit


class Visitors:
    """Calibration windows on their way through the pruned model, some of which choose before they are fitted.

    At each layer: `follow` if there is drift to repair, `observe`, then whatever changes the MLP, `advance`; or `run`.

    Attributes:
        dampings: λ of a refit, or those to choose from.
    """

    def __init__(self, model: LayeredModel, windows: Tensor, options: RepairOptions, meter: Meter) -> None:
        """Embed the windows, [windows, positions]; the last of them are those that choose."""
        self._options, self._meter = options, meter
        self._tokens = windows.numel()
        hold = fit_in_cache(self._tokens, getattr(model.config, model.family.width_field), model.dtype)

        def visitors(windows: Tensor) -> list[Visitor]:
            return [
                Visitor(
                    model.embed(tokens),
                    meter,
                    keep_examples=options.producer_steps > 0,
                    hold=hold,
                )
                for tokens in batches(windows, model.device)
            ]

        held_out = round(len(windows) * HELD_OUT_SHARE) if options.refit_damping is None else 0
        self._fitted = visitors(windows[: len(windows) - held_out])
        self._held_out = visitors(windows[len(windows) - held_out :]) if held_out else []
        self.dampings = REFIT_DAMPINGS if held_out else (options.refit_damping or REFIT_DAMPING,)

    def follow(self, layer: nn.Module, index: int) -> None:
        """Let the dense model's hidden states pass a dense layer."""
        for visitor in self._all():
            visitor.follow(layer, index)

    def run(self, layer: nn.Module, index: int) -> None:
        """Pass a layer that stays as it is."""
        for visitor in self._all():
            visitor.run(layer, index)

    def observe(
        self, layer: nn.Module, index: int, channels: MlpChannels, *, drift_correction: float
    ) -> tuple[Moments, Moments | None]:
        """Run the layer beside its consumer; give the moments of the windows that are fitted, and of those that choose.

        The target is (1 − β) AW + βY, where A W is the MLP's own output, Y what brings the residual stream back to the
        dense hidden states that were followed, and β the drift correction; A W where none were.

        Raises:
            BrokenModelError: the activations are not finite.
        """
        moments = self._sum(
            channels, lambda visitor, sums: visitor.observe(layer, index, channels, sums, drift_correction)
        )
        require_finite_activations(moments[0].gram, index)
        return moments

    def narrow(self, channels: MlpChannels, kept: Tensor) -> None:
        """Keep only the channels `kept` of the MLP, and of what is held."""
        channels.narrow(kept)
        for visitor in self._all():
            visitor.narrow(kept)

    def improve(self, channels: MlpChannels, weight: Tensor, refitted: Refit) -> Refit:
        """Give the consumer its refit; then fit the producers, if asked, and refit again.

        A fit that does worse on the windows that choose is undone.

        Args:
            channels: of the layer that was observed.
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
        )
        self._meter.fit(self._tokens, self._options.producer_steps)
        moments, held_out = self._sum(channels, lambda visitor, sums: visitor.observe_again(channels, sums))
        everything = torch.arange(len(weight), device=weight.device)
        again = refit(moments, held_out, weight, everything, self.dampings, biased=refitted.shift is not None)
        if _error(again) < _error(refitted):
            channels.refit(again.weight, _difference(again.shift, refitted.shift))
            return again
        channels.write_producers(producers)
        for visitor in self._all():
            visitor.forget_activations()
        return refitted

    def advance(self, layer: nn.Module, index: int, channels: MlpChannels) -> None:
        """Move every window behind the layer as it is now."""
        for visitor in self._all():
            visitor.advance(layer, index, channels)

    def _examples(self, inputs: int) -> list[Example]:
        fitted = sum(visitor.tokens for visitor in self._fitted)
        every = max(1, fitted // (FIT_TOKENS_PER_INPUT * inputs))
        return [visitor.example(every) for visitor in self._fitted]

    def _all(self) -> Iterator[Visitor]:
        return itertools.chain(self._fitted, self._held_out)

    def _sum(
        self, channels: MlpChannels, observe: Callable[[Visitor, MomentSums], None]
    ) -> tuple[Moments, Moments | None]:
        weight = channels.consumer_weight()

        def total(visitors: Sequence[Visitor]) -> Moments:
            sums = MomentSums(len(weight), weight.shape[1], weight.device)
            for visitor in visitors:
                observe(visitor, sums)
            return sums.total(weight)

        return total(self._fitted), total(self._held_out) if self._held_out else None


def _error(refitted: Refit) -> float:
    return refitted.error if refitted.held_out_error is None else refitted.held_out_error


def _difference(now: Tensor | None, before: Tensor | None) -> Tensor | None:
    return now if now is None or before is None else now - before
