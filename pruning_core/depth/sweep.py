"""The losses of many cuts of a model, in one sweep over its layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruning_core import budgets
from pruning_core.depth.cuts import Cut, before, layer_passes, staying
from pruning_core.perplexity import token_losses
from pruning_core.progress import CostModel, Meter
from pruning_core.streaming import LayeredModel, Stream, batch_size


def sweep_cost(layers: int, cuts: Sequence[Cut], tokens: int, costs: CostModel) -> float:
    """Cost of `score_cuts`, in the units of `CostModel`.

    For runs of m of L layers that is (L − m)(L − m + 1)/2 passes behind the cuts, L − m before them and L − m + 1
    heads, where a forward of the cut model for every run takes (L − m + 1)(L − m) passes and as many heads.
    """
    return tokens * (layer_passes(layers, cuts) + costs.head * len(cuts))


@torch.no_grad()
def score_cuts(model: LayeredModel, windows: Tensor, cuts: Sequence[Cut], meter: Meter) -> Tensor:
    """Next-token losses of the model without the layers of each cut.

    A cut model is the dense one up to its first removed layer, so all cuts share the dense stream until they leave it,
    and two cuts share a stream for as long as they have removed the same layers. All streams pass a decoder layer
    together; it is opened once for as many windows as `budgets.SWEEP_BYTES` holds.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        cuts: removed layers of each candidate.
        meter: told of each piece of work.

    Returns:
        [cuts, windows, positions − 1], in nats, on the CPU.
    """
    held = len(cuts) * windows.shape[1] * model.config.hidden_size * model.dtype.itemsize
    together = max(1, budgets.SWEEP_BYTES // held)
    return torch.cat([_score(model, part, cuts, meter) for part in windows.split(together)], dim=1)


def _score(model: LayeredModel, windows: Tensor, cuts: Sequence[Cut], meter: Meter) -> Tensor:
    crowd = _Crowd(model, windows)
    streams: dict[Cut, Tensor] = {(): crowd.embedded}
    for index in range(len(model)):
        removing = {(*before(cut, index), index): streams[before(cut, index)] for cut in cuts if index in cut}
        keeping = staying(cuts, index)
        with model.open(index) as layer:
            outputs = crowd.run(layer, index, [streams[removed] for removed in keeping])
        meter.layer(len(keeping) * windows.numel())
        streams = removing | dict(zip(keeping, outputs, strict=True))
    losses = []
    for cut in cuts:
        losses.append(token_losses(model, streams[cut], crowd.tokens))
        meter.head(windows.numel())
    return torch.stack(losses)


class _Crowd:
    """Runs several hidden states of the same windows through a layer, in batches that suit the device."""

    def __init__(self, model: LayeredModel, windows: Tensor) -> None:
        self._model = model
        self._batch = batch_size(windows, model.device)
        self._streams: dict[int, Stream] = {}
        self.tokens = windows.to(model.device)
        self.embedded = torch.cat([model.embed(part).hidden for part in windows.split(self._batch)])

    def run(self, layer: nn.Module, index: int, hidden: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run [windows, positions, hidden size] each."""
        if not hidden:
            return []
        outputs = [
            self._stream_of(len(rows)).run(layer, index, rows)
            for rows in torch.cat([*hidden]).split(self._batch)
        ]
        return list(torch.cat(outputs).view(len(hidden), *hidden[0].shape))

    def _stream_of(self, rows: int) -> Stream:
        """What the model gives its layers with a batch of so many windows; it depends on their number alone."""
        if rows not in self._streams:
            self._streams[rows] = self._model.embed(self.tokens[:1].expand(rows, -1))
        return self._streams[rows]
