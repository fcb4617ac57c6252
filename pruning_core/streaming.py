"""Models that are bigger than memory: a decoder layer is read, used and let go, and the next one is read meanwhile."""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from torch import Tensor, nn

from pruning_core.layer_files import LayerFiles, give_weights
from pruning_core.layered_model import ResidentModel
from pruning_core.models.description import Family
from pruning_core.skeleton import Skeleton


class StreamedModel(ResidentModel):
    """A `LayeredModel` of which only what is around the decoder layers stays on the device.

    A layer is on the device while it is open. What was changed in it is kept if it is stored, in a file.
    """

    resident = False

    def __init__(self, skeleton: Skeleton, family: Family, changed: LayerFiles) -> None:
        """Begin with no layer in memory.

        Args:
            skeleton: reads them.
            family: how the model is described.
            changed: keeps those that were changed, perhaps some from before.
        """
        super().__init__(skeleton.model, family)
        self._skeleton, self._layer_files = skeleton, changed
        self._places = list(range(len(self)))
        self._ahead = _ReadAhead(self._read)

    @property
    def bytes_read(self) -> int:
        """Of the checkpoint, by all who opened a layer so far."""
        return self._skeleton.files.bytes_read

    @contextmanager
    def open(self, index: int) -> Iterator[nn.Module]:
        layer, place = self._layers[index], self._places[index]
        weights = self._ahead.take(index)
        if place in self._layer_files:
            give_weights(layer, weights, self.device)
        else:
            self._skeleton.fill(place, index, weights)
        del weights
        if index + 1 < len(self):
            self._ahead.expect(index + 1)
        try:
            yield layer
        finally:
            layer.to("meta")

    def store(self, index: int, layer: nn.Module) -> None:
        self._layer_files.put(self._places[index], layer)

    def remove(self, indices: Collection[int]) -> None:
        super().remove(indices)
        self._places = [place for index, place in enumerate(self._places) if index not in indices]
        self._ahead.forget()

    def _read(self, index: int) -> Mapping[str, Tensor]:
        place = self._places[index]
        return (
            self._layer_files.read(place) if place in self._layer_files else self._skeleton.read(place, index)
        )


class _ReadAhead:
    """Reads the layer that will be wanted next, on a thread of its own."""

    def __init__(self, read: Callable[[int], Mapping[str, Tensor]]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._expected: tuple[int, Future[Mapping[str, Tensor]]] | None = None

    def expect(self, index: int) -> None:
        """Begin to read a layer."""
        self._expected = index, self._thread.submit(self._read, index)

    def take(self, index: int) -> Mapping[str, Tensor]:
        """Give a layer, which was expected or not."""
        expected, self._expected = self._expected, None
        if expected is None:
            return self._read(index)
        number, reading = expected
        # Also where it is not wanted: two that read at a time would hold a layer more.
        weights = reading.result()
        return weights if number == index else self._read(index)

    def forget(self) -> None:
        """Layers are numbered anew."""
        self._expected = None
