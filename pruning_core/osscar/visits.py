"""How calibration windows visit a decoder layer that is about to be narrowed, and leave it narrow."""

from torch import Tensor, nn

from pruning_core.models.mlp import MlpChannels
from pruning_core.osscar.activations import SilencedConsumer
from pruning_core.osscar.moments import MomentSums
from pruning_core.progress import Meter
from pruning_core.streaming import Stream


class Visitor:
    """A batch of calibration windows on its way through the pruned model, with the dense model's beside it if asked.

    A visit is an `observe`, the narrowing of the layer, and an `advance`.
    """

    def __init__(self, stream: Stream, meter: Meter, *, follow_dense: bool, hold: bool) -> None:
        self._stream = stream
        self._meter = meter
        self._dense: Tensor | None = stream.hidden if follow_dense else None
        self._hold = hold
        self._held: tuple[Tensor, Tensor] | None = None

    def observe(self, layer: nn.Module, index: int, consumer: nn.Linear, sums: MomentSums) -> None:
        """Run the dense layer beside its consumer, and add what the consumer gets and should give to `sums`."""
        tokens = self._stream.tokens.numel()
        targets = None
        if self._dense is not None:
            self._dense = self._stream.run(layer, index, self._dense)
            self._meter.layer(tokens)
        with SilencedConsumer(consumer) as silenced:
            beside = self._stream.run(layer, index)
            activations = silenced.take()
        self._meter.layer(tokens)
        if self._dense is not None:
            targets = (self._dense - beside).flatten(0, -2)
            if consumer.bias is not None:
                targets = targets - consumer.bias
            self._meter.change(tokens)
        sums.add(activations, targets)
        self._meter.gram(tokens)
        if self._hold:
            self._held = activations, beside

    def advance(self, layer: nn.Module, index: int, channels: MlpChannels, kept: Tensor) -> None:
        """Become the narrow layer's output: from what `observe` held, or by running the layer again."""
        if self._held is None:
            self._stream.hidden = self._stream.run(layer, index)
        else:
            (activations, beside), self._held = self._held, None
            self._stream.hidden = beside + channels.consumer(activations[:, kept]).view_as(beside)
        self._meter.change(self._stream.tokens.numel())
