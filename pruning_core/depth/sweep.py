"""The losses of many cuts of a model, in one sweep over its layers."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pruning_core import budgets
from pruning_core.depth.cuts import Cut, before, layer_passes, staying
from pruning_core.layered_model import LayeredModel, Stream, batch_size
from pruning_core.ledger import NO_LEDGER, Ledger, Walk
from pruning_core.perplexity import token_losses
from pruning_core.progress import CostModel, Meter
from pruning_core.resting import resting_place
from pruning_core.shelf import Kept, Shelf


def sweep_cost(layers: int, cuts: Sequence[Cut], tokens: int, costs: CostModel) -> float:
    """Cost of `score_cuts`, in the units of `CostModel`.

    For runs of m of L layers that is (L − m)(L − m + 1)/2 passes behind the cuts, L − m before them and L − m + 1
    heads, where a forward of the cut model for every run takes (L − m + 1)(L − m) passes and as many heads.
    """
    return tokens * (layer_passes(layers, cuts) + costs.head * len(cuts))


@torch.no_grad()
def score_cuts(  # noqa: PLR0917  what, on what, and where it rests
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    meter: Meter,
    shelf: Shelf,
    ledger: Ledger = NO_LEDGER,
) -> Tensor:
    """Next-token losses of the model without the layers of each cut.

    A cut model is the dense one up to its first removed layer, so all cuts share the dense stream until they leave it,
    and two cuts share a stream for as long as they have removed the same layers. All streams pass a decoder layer
    together; it is opened once for as many windows as `budgets.SWEEP_BYTES` holds, or for all of them where it must be
    read.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        cuts: removed layers of each candidate.
        meter: told of each piece of work.
        shelf: where the streams rest.
        ledger: keeps the losses of what passes the layers together.

    Returns:
        [cuts, windows, positions − 1], float32, in nats, on the CPU.
    """
    if len(windows) > sweep_batch(model, windows.shape[1], cuts):
        return score_batches(model, windows, cuts, meter, shelf, ledger)
    # Fewer than fill a batch: streams go together in one, for a layer that is read is worth many rows.
    batch = batch_size(windows.shape[1], model.device)
    return _score(model, windows, cuts, meter, _Crowd(model, windows, batch, shelf, mixed=True), ledger)


@torch.no_grad()
def score_batches(  # noqa: PLR0917  the same as `score_cuts`'s
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    meter: Meter,
    shelf: Shelf,
    ledger: Ledger = NO_LEDGER,
) -> Tensor:
    """Score whole batches of windows, as `score_cuts` does those of a round with more than one.

    A batch holds windows of one stream, and a round's batches begin at every `sweep_batch` windows. So every row meets
    the same matrix products whoever scores its batch, and its losses are the same to the last bit.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids: a run of the round's batches, of which only its last may be smaller.
        cuts: removed layers of each candidate of the round.
        meter: told of each piece of work.
        shelf: where the streams rest.
        ledger: keeps the losses of what passes the layers together.

    Returns:
        [cuts, windows, positions − 1], float32, in nats, on the CPU.
    """
    batch = sweep_batch(model, windows.shape[1], cuts)
    room = budgets.SWEEP_BYTES if model.resident else shelf.room
    together = len(windows)
    if room is not None:
        together = max(1, _windows_in(room, model, windows.shape[1], cuts) // batch) * batch

    def score(part: Tensor) -> Tensor:
        crowd = _Crowd(model, part, batch, shelf, mixed=False)
        return _score(model, part, cuts, meter, crowd, ledger)

    parts = []
    for part in windows.split(together):
        parts.append(ledger.recall_losses(f"part-{name_of(cuts, part)}", partial(score, part), meter))
        ledger.finish(name_of_walk(cuts, part))
    return torch.cat(parts, dim=1)


def name_of(cuts: Sequence[Cut], windows: Tensor) -> str:
    """Name the losses of these cuts on these windows."""
    return hashlib.sha256(json.dumps(cuts).encode() + windows.numpy().tobytes()).hexdigest()


def sweep_batch(model: LayeredModel, positions: int, cuts: Sequence[Cut]) -> int:
    """How many windows of so many positions make a batch in a sweep of these cuts."""
    fitting = _windows_in(budgets.SWEEP_BYTES, model, positions, cuts)
    return max(1, min(batch_size(positions, model.device), fitting))


def _windows_in(room: int, model: LayeredModel, positions: int, cuts: Sequence[Cut]) -> int:
    """For how many windows so many bytes hold the hidden states of all cuts."""
    of_one: int = len(cuts) * positions * model.config.hidden_size * model.dtype.itemsize
    return room // of_one


def name_of_walk(cuts: Sequence[Cut], windows: Tensor) -> str:
    """What the ledger calls their walk through the layers."""
    return f"walk-{name_of(cuts, windows)}"


def _score(  # noqa: PLR0917  the same as `score_cuts`'s
    model: LayeredModel,
    windows: Tensor,
    cuts: Sequence[Cut],
    meter: Meter,
    crowd: "_Crowd",
    ledger: Ledger,
) -> Tensor:
    streams: dict[Cut, _Hidden] = {(): crowd.embedded}
    first, name = 0, name_of_walk(cuts, windows)
    walk = ledger.resume(meter, name)
    if walk is not None:
        first, streams = walk.next_layer, crowd.restore(walk)
    for index in range(first, len(model)):
        removing = {(*before(cut, index), index): streams[before(cut, index)] for cut in cuts if index in cut}
        keeping = staying(cuts, index)
        with model.open(index) as layer:
            outputs = crowd.run(layer, index, [streams[removed] for removed in keeping])
        meter.layer(len(keeping) * windows.numel())
        streams = removing | dict(zip(keeping, outputs, strict=True))
        if ledger.due:
            ledger.commit(index + 1, list(streams), _going_on(list(streams.values())), meter, name)
    losses = []
    for cut in cuts:
        losses.append(crowd.losses(streams[cut]))
        meter.head(windows.numel())
    return torch.stack(losses)


def _going_on(streams: Sequence["_Hidden"]) -> dict[str, Kept]:
    return {
        f"{number}.{batch}": kept
        for number, stream in enumerate(streams)
        for batch, kept in enumerate(stream)
    }


_Hidden = Sequence[Kept]
"""Hidden states of the windows, batch by batch, [windows, positions, hidden size] each."""


class _Crowd:
    """Runs several hidden states of the same windows through the model, in batches of so many windows.

    `mixed` lets a batch hold windows of several streams.
    """

    def __init__(
        self, model: LayeredModel, windows: Tensor, batch: int, shelf: Shelf, *, mixed: bool
    ) -> None:
        self._model, self._shelf = model, resting_place(model, shelf)
        self._calls: dict[int, Stream] = {}
        self._tokens = windows.to(model.device).split(batch)
        self._streams_together = max(1, batch // len(windows)) if mixed else 1
        self.embedded: _Hidden = [self._shelf.keep(model.embed(part).hidden) for part in self._tokens]

    def restore(self, walk: Walk) -> dict[Cut, _Hidden]:
        """Put the streams of a walk where they had come to, by the layers that they have left out."""

        def rest(name: str) -> Kept:
            return self._shelf.keep(walk.tensor(name).to(self._model.device))

        return {
            tuple(removed): [rest(f"{number}.{batch}") for batch in range(len(self._tokens))]
            for number, removed in enumerate(walk.told)
        }

    def run(self, layer: nn.Module, index: int, streams: Sequence[_Hidden]) -> list[_Hidden]:
        """Run each of the streams."""
        batches = zip(*streams, strict=True)
        outputs = [self._run(layer, index, batch) for batch in batches]
        return [list(stream) for stream in zip(*outputs, strict=True)]

    def _run(self, layer: nn.Module, index: int, batch: Sequence[Kept]) -> list[Kept]:
        """Run one batch of every stream."""
        outputs: list[Kept] = []
        for start in range(0, len(batch), self._streams_together):
            hidden = [stream.fetch() for stream in batch[start : start + self._streams_together]]
            rows = torch.cat(hidden) if len(hidden) > 1 else hidden[0]
            output = self._calls_of(len(rows)).run(layer, index, rows)
            outputs += [self._shelf.keep(part) for part in output.split(len(hidden[0]))]
        return outputs

    def losses(self, stream: _Hidden) -> Tensor:
        """Next-token losses behind the last layer, [windows, positions − 1]."""
        parts = zip(stream, self._tokens, strict=True)
        return torch.cat([token_losses(self._model, rows.fetch(), tokens) for rows, tokens in parts])

    def _calls_of(self, rows: int) -> Stream:
        """What the model gives its layers with a batch of so many windows; it depends on their number alone."""
        if rows not in self._calls:
            self._calls[rows] = self._model.embed(self._tokens[0][:1].expand(rows, -1))
        return self._calls[rows]
