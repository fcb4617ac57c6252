"""How a batch of calibration windows visits a decoder layer that is about to change, and leaves it changed."""

import torch
from torch import Tensor, nn

from pruning_core.models.mlp import MlpChannels
from pruning_core.progress import Meter
from pruning_core.repair.activations import SilencedMlp
from pruning_core.repair.moments import MomentSums
from pruning_core.repair.producers import Example
from pruning_core.streaming import Stream


class Visitor:
    """A batch of calibration windows on its way through the pruned model, with the dense model's beside it if asked.

    A visit is a `follow`, an `observe`, perhaps a `narrow` and an `observe_again`, and an `advance`; or a `run`. Before
    the first `follow` the dense model's hidden states are the batch's own.
    """

    def __init__(self, stream: Stream, meter: Meter, *, keep_examples: bool, hold: bool) -> None:
        """Start in front of the first layer.

        Args:
            stream: the windows.
            meter: told of each piece of work.
            keep_examples: whether to keep what the MLP gets and should give.
            hold: whether activations may be kept.
        """
        self._stream = stream
        self._meter = meter
        self._dense: Tensor | None = None
        self._keep_examples, self._hold = keep_examples, hold
        self._beside: Tensor | None = None
        self._activations: Tensor | None = None
        self._example: Example | None = None

    @property
    def tokens(self) -> int:
        return self._stream.tokens.numel()

    def follow(self, layer: nn.Module, index: int) -> None:
        """Let the dense model's hidden states pass a dense layer."""
        self._dense = self._stream.run(layer, index, self._dense)
        self._meter.layer(self.tokens)

    def run(self, layer: nn.Module, index: int) -> None:
        """Pass a layer that stays as it is."""
        self._stream.hidden = self._stream.run(layer, index)
        self._meter.layer(self.tokens)

    def observe(
        self, layer: nn.Module, index: int, channels: MlpChannels, sums: MomentSums, drift_correction: float
    ) -> None:
        """Run the layer beside its consumer, and add what the consumer gets and should give to `sums`."""
        with SilencedMlp(channels, sequence_first=self._stream.sequence_first) as mlp:
            beside = self._stream.run(layer, index)
        self._meter.layer(self.tokens)
        targets = self._targets(channels, mlp.activations, beside, drift_correction)
        sums.add(mlp.activations, targets)
        self._meter.gram(self.tokens)
        if self._keep_examples:
            assert targets is not None  # noqa: S101  `_targets` gives them whenever examples are kept
            self._beside, self._example = beside, Example(mlp.inputs, targets)
        elif self._hold:
            self._beside, self._activations = beside, mlp.activations

    def _targets(
        self, channels: MlpChannels, activations: Tensor, beside: Tensor, drift_correction: float
    ) -> Tensor | None:
        """T = (1 − β) AW + βY with Y what brings the dense hidden states back; None for plain AW that nobody keeps."""
        if self._dense is None and not self._keep_examples:
            return None
        self._meter.change(self.tokens)
        own = activations @ channels.consumer_weight()
        if self._dense is None:
            return own
        wanted = (self._dense - beside).flatten(0, -2)
        if channels.consumer.bias is not None:
            wanted = wanted - channels.consumer.bias
        return torch.lerp(own, wanted, drift_correction)

    def narrow(self, kept: Tensor) -> None:
        """Drop what is held of channels other than `kept`."""
        if self._activations is not None:
            self._activations = self._activations[:, kept]

    def example(self, every: int) -> Example:
        """Every so many-th token of what the MLP got and should give."""
        assert self._example is not None  # noqa: S101  asked of visitors that keep examples only
        return Example(self._example.inputs[::every], self._example.targets[::every])

    def observe_again(self, channels: MlpChannels, sums: MomentSums) -> None:
        """Add what the consumer gets from the producers as they are now, and should give, to `sums`."""
        assert self._example is not None  # noqa: S101  asked of visitors that keep examples only
        activations = channels.activations(self._example.inputs)
        sums.add(activations, self._example.targets)
        self._meter.gram(self.tokens)
        self._meter.change(2 * self.tokens)
        if self._hold:
            self._activations = activations

    def forget_activations(self) -> None:
        """Do not use what the last `observe_again` saw: the producers have changed since."""
        self._activations = None

    def advance(self, layer: nn.Module, index: int, channels: MlpChannels) -> None:
        """Become the narrow layer's output: from what is held, or by running the layer again."""
        if self._beside is None:
            self._stream.hidden = self._stream.run(layer, index)
        else:
            activations = self._activations
            if activations is None:
                assert self._example is not None  # noqa: S101  one or the other is held with what is beside the MLP
                activations = channels.activations(self._example.inputs)
            self._stream.hidden = self._beside + channels.consumer(activations).view_as(self._beside)
        self._beside = self._activations = self._example = None
        self._meter.change(self.tokens)
