"""How a batch of calibration windows visits a decoder layer that is about to change, and leaves it changed."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruning_core.layered_model import Stream
from pruning_core.models.attention import AttentionOutput
from pruning_core.models.layer_mlp import Given, Heard, LayerMlp, Routing
from pruning_core.models.mlp import MlpChannels
from pruning_core.progress import Meter
from pruning_core.repair.moments import MomentSums
from pruning_core.repair.producers import Example
from pruning_core.shelf import Kept, Shelf


class Visitor:
    """A batch of calibration windows on its way through the pruned model, with the dense model's beside it if asked.

    A visit is a `follow`, and perhaps an `observe_attention`, if there is drift to repair; an `enter`; for each part of
    the MLP an `observe`, perhaps a `narrow` and an `observe_again`; and an `advance`. Or it is a `run`. Before the
    first `follow` the dense model's hidden states are the batch's own.
    """

    def __init__(self, stream: Stream, shelf: Shelf, meter: Meter, *, keep_examples: bool) -> None:
        """Start in front of the first layer.

        Args:
            stream: the windows.
            shelf: where tensors rest.
            meter: told of each piece of work.
            keep_examples: whether to keep what the MLP gets and should give.
        """
        self._hidden = shelf.keep(stream.hidden)
        self._stream = replace(stream, hidden=stream.hidden[:0])
        self._shelf = shelf
        self._meter = meter
        self._dense: Kept | None = None
        self._keep_examples = keep_examples
        self._visit: _Visit | None = None

    @property
    def tokens(self) -> int:
        return self._stream.tokens.numel()

    @property
    def routing(self) -> Routing | None:
        """Where the layer's MLP sends what it gets."""
        return self._at.routing

    @property
    def rows(self) -> int:
        """How many of the tokens the part gets that was observed last."""
        return self._at.rows

    def going_on(self) -> dict[str, Kept]:
        """What it takes to the next layer, to be restored by a visitor of the same windows."""
        return {"hidden": self._hidden} | ({} if self._dense is None else {"dense": self._dense})

    def restore(self, going_on: Mapping[str, Tensor]) -> None:
        """Stand where one stood that was going on with these."""
        self._hidden = self._shelf.keep(going_on["hidden"])
        self._dense = self._shelf.keep(going_on["dense"]) if "dense" in going_on else None

    def follow(self, layer: nn.Module, index: int) -> None:
        """Let the dense model's hidden states pass a dense layer."""
        before = self._hidden if self._dense is None else self._dense
        self._dense = self._shelf.keep(self._stream.run(layer, index, before.fetch()))
        self._meter.layer(self.tokens)

    def run(self, layer: nn.Module, index: int) -> None:
        """Pass a layer that stays as it is."""
        self._hidden = self._shelf.keep(self._stream.run(layer, index, self._hidden.fetch()))
        self._meter.layer(self.tokens)

    def observe_attention(
        self,
        layer: nn.Module,
        index: int,
        attention: AttentionOutput,
        sums: MomentSums,
        drift_correction: float,
    ) -> None:
        """Run the layer, and add what its heads give and what should be made of it to `sums`.

        The target is A W + βR, where A W is what is made of it now, and R what the layer's output lacks of the dense
        hidden states that were followed.
        """
        assert self._dense is not None  # noqa: S101  asked where there is drift to repair only
        with attention.heard() as heard:
            output = self._stream.run(layer, index, self._hidden.fetch())
        (heads,) = heard
        given = attention.projection(heads)
        missing = (self._dense.fetch() - output).flatten(0, -2)
        bias = attention.projection.bias
        own = given if bias is None else given - bias
        sums.add(heads, own + drift_correction * attention.junction.pull_back(missing, given))
        self._meter.layer(self.tokens)

    def enter(self, layer: nn.Module, index: int, mlp: LayerMlp, *, hold: bool) -> None:
        """Run the layer beside its MLP; what the consumer gets may be held until `advance` if it is the only one."""
        with mlp.silenced() as heard:
            beside = self._stream.run(layer, index, self._hidden.fetch())
        self._meter.layer(self.tokens)
        (once,) = heard
        keep = self._shelf.keep
        self._visit = _Visit(mlp, keep(once.inputs), once.routing, keep(beside), hold=hold)

    def observe(self, part: int, sums: MomentSums, *, routed: bool, drift_correction: float) -> None:
        """Add what a part's consumer gets and should give to `sums`."""
        at, channels = self._at, self._at.mlp.parts[part]
        at.part, at.routed = part, routed
        given = at.given()
        at.rows = len(given.inputs)
        if not at.rows:
            return
        activations = _scaled(channels.activations(given.inputs), given)
        targets = self._targets(channels, given, activations, drift_correction)
        sums.add(activations, targets)
        self._meter.gram(self._share_of_tokens)
        at.targets = self._shelf.keep(targets) if targets is not None and self._keep_examples else None
        if at.hold:
            at.activations = self._shelf.keep(activations)

    def _targets(
        self, channels: MlpChannels, given: Given, activations: Tensor, drift_correction: float
    ) -> Tensor | None:
        """T = AW + βR, R what the residual stream lacks of the dense one; None for plain AW that nobody keeps."""
        if self._dense is None and not self._keep_examples:
            return None
        self._meter.change(self._share_of_tokens)
        own = activations @ channels.consumer_weight()
        if self._dense is None or not drift_correction:
            return own
        if given.share is None:
            output = own if channels.consumer.bias is None else own + channels.consumer.bias
            lack = self._lack(output, self._dense)
        else:
            if self._at.lack is None:
                together = self._at.mlp.output(self._at.heard())
                self._at.lack = self._shelf.keep(self._lack(together, self._dense))
            lack = self._at.lack.fetch()[given.rows] * given.share
        return torch.add(own, lack, alpha=drift_correction)

    def _lack(self, output: Tensor, dense: Kept) -> Tensor:
        """R, [tokens, outputs]: what the MLP should give more than `output`."""
        junction = self._at.mlp.junction
        missing = dense.fetch() - junction.add(self._at.beside.fetch(), output)
        return junction.pull_back(missing.flatten(0, -2), output)

    def narrow(self, kept: Tensor) -> None:
        """Drop what is held of channels other than `kept`."""
        if self._at.activations is not None:
            self._at.activations = self._shelf.keep(self._at.activations.fetch()[:, kept])

    def example(self, every: int) -> Example | None:
        """Every so many-th token of what the part got and should give; None if it got none."""
        given, targets = self._at.given(), self._at.targets
        if targets is None or not self._at.rows:
            return None
        scale = None if given.scale is None else given.scale[::every]
        return Example(given.inputs[::every], targets.fetch()[::every], scale)

    def observe_again(self, channels: MlpChannels, sums: MomentSums) -> None:
        """Add what the part's consumer gets from the producers as they are now, and should give, to `sums`."""
        at = self._at
        if not at.rows:
            return
        assert at.targets is not None  # noqa: S101  asked of visitors that keep examples only
        given = at.given()
        activations = _scaled(channels.activations(given.inputs), given)
        sums.add(activations, at.targets.fetch())
        self._meter.gram(self._share_of_tokens)
        self._meter.change(2 * self._share_of_tokens)
        if at.hold:
            at.activations = self._shelf.keep(activations)

    def forget_activations(self) -> None:
        """Do not use what the last `observe_again` saw: the producers have changed since."""
        self._at.activations = None

    def advance(self) -> None:
        """Become the changed layer's output, from what was heard and what is held."""
        at = self._at
        if at.activations is None:
            output = at.mlp.output(at.heard())
        else:
            (channels,) = at.mlp.parts
            output = channels.consumer(at.activations.fetch())
        self._hidden = self._shelf.keep(at.mlp.junction.add(at.beside.fetch(), output))
        self._meter.change(self.tokens)
        self._visit = None

    @property
    def _share_of_tokens(self) -> float:
        """The rows that a part gets, in tokens that every chosen expert gets."""
        return self._at.rows / self._at.mlp.chosen

    @property
    def _at(self) -> "_Visit":
        assert self._visit is not None  # noqa: S101  between `enter` and `advance`
        return self._visit


class _Visit:
    """What is held between `enter` and `advance`, and of the part that is looked at.

    Attributes:
        inputs: [tokens, inputs], what the MLP gets.
        routing: where it sends them.
        beside: [windows, positions, outputs], the residual stream without the MLP.
        hold: whether activations may be held.
        lack: [tokens, outputs], what the dense experts should together give more; None until it is asked for.
        part: which part is looked at.
        routed: whether it gets what is routed to it, or everything.
        rows: how many tokens that is.
        targets: [rows, outputs], what its consumer should give; None where they are not kept.
        activations: [rows, channels], what the consumer gets; None where they are not held.
    """

    def __init__(
        self, mlp: LayerMlp, inputs: Kept, routing: Routing | None, beside: Kept, *, hold: bool
    ) -> None:
        self.mlp, self.inputs, self.routing, self.beside, self.hold = mlp, inputs, routing, beside, hold
        self.lack: Kept | None = None
        self.part, self.routed, self.rows = 0, True, 0
        self.targets: Kept | None = None
        self.activations: Kept | None = None

    def heard(self) -> Heard:
        """What the MLP gets."""
        return Heard(self.inputs.fetch(), self.routing)

    def given(self) -> Given:
        """What the part gets."""
        return self.mlp.given(self.part, self.heard(), routed=self.routed)


def _scaled(activations: Tensor, given: Given) -> Tensor:
    return activations if given.scale is None else activations * given.scale.to(activations.dtype)
