"""Windows on their way through the layers whose hidden states rest on a shelf between one layer and the next."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from pruning_core.layered_model import LayeredModel, Stream, batches
from pruning_core.shelf import Kept, Shelf


class RestingStream:
    """A batch of windows in front of a decoder layer."""

    def __init__(self, stream: Stream, shelf: Shelf) -> None:
        self._stream = replace(stream, hidden=stream.hidden[:0])
        self._shelf = shelf
        self._hidden = shelf.keep(stream.hidden)

    @property
    def tokens(self) -> Tensor:
        """[windows, positions]."""
        return self._stream.tokens

    @property
    def hidden(self) -> Tensor:
        """[windows, positions, hidden size], to be read only."""
        return self._hidden.fetch()

    def rest(self) -> Kept:
        """What `hidden` is now, to be fetched later."""
        return self._hidden

    def restore(self, hidden: Tensor) -> None:
        """Stand where these hidden states are, which may be on any device."""
        self._hidden = self._shelf.keep(hidden.to(self._stream.tokens.device))

    def advance(self, layer: nn.Module, index: int) -> None:
        """Pass decoder layer `index`."""
        self._hidden = self._shelf.keep(self.output(layer, index))

    def output(self, layer: nn.Module, index: int, hidden: Tensor | None = None) -> Tensor:
        """What decoder layer `index` makes of the hidden states, or of others; the stream stays where it is."""
        return self._stream.run(layer, index, self.hidden if hidden is None else hidden)


def embedded(model: LayeredModel, windows: Tensor, shelf: Shelf) -> list[RestingStream]:
    """Windows, [windows, positions] token ids, in batches in front of the first layer."""
    return [RestingStream(model.embed(tokens), shelf) for tokens in batches(windows, model.device)]


def groups(model: LayeredModel, texts: Sequence[Tensor], shelf: Shelf) -> Iterator[list[list[RestingStream]]]:
    """Batches of several texts, [windows, positions] token ids each; those together that pass a layer while it is open.

    One batch after the other where the layers stay, for that holds the fewest hidden states; as many as the shelf has
    room for where each layer must be read.

    Yields:
        For each text its batches of the group, in front of the first layer.
    """
    room = 0 if model.resident else shelf.room
    resting = resting_place(model, shelf)
    group: list[list[Tensor]] = [[] for _ in texts]
    held = 0
    for number, windows in enumerate(texts):
        for tokens in batches(windows, model.device):
            size = tokens.numel() * model.config.hidden_size * model.dtype.itemsize
            if held and room is not None and held + size > room:
                yield _start(model, group, resting)
                group, held = [[] for _ in texts], 0
            group[number].append(tokens)
            held += size
    yield _start(model, group, resting)


def _start(model: LayeredModel, group: Sequence[Sequence[Tensor]], shelf: Shelf) -> list[list[RestingStream]]:
    return [[RestingStream(model.embed(tokens), shelf) for tokens in text] for text in group]


def resting_place(model: LayeredModel, shelf: Shelf) -> Shelf:
    """Where the few hidden states rest that are held at a time while the layers stay: they do not leave the device."""
    return Shelf("device", model.device) if model.resident else shelf
