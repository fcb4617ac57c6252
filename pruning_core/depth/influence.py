"""Block influence: how much a run of layers turns the hidden states (Men et al., "ShortGPT", 2024, equation 1)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.depth.cuts import Cut
from pruning_core.layered_model import LayeredModel
from pruning_core.progress import Meter
from pruning_core.resting import groups
from pruning_core.shelf import Kept, Shelf


@torch.no_grad()
def block_influences(
    model: LayeredModel, windows: Tensor, cuts: Sequence[Cut], meter: Meter, shelf: Shelf
) -> list[float]:
    """1 − the mean cosine of the hidden states before the first and behind the last layer of each run.

    One pass of the dense model. It costs little beside the perplexities, and knows nothing of what later layers make of
    the turn.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        cuts: runs of consecutive layers.
        meter: told of each piece of work.
        shelf: where hidden states rest.
    """
    totals = [0.0 for _ in cuts]
    for (group,) in groups(model, [windows], shelf):
        waiting: dict[int, list[Kept]] = {}
        for index in range(len(model)):
            if any(cut[0] == index for cut in cuts):
                waiting[index] = [stream.rest() for stream in group]
            with model.open(index) as layer:
                for stream in group:
                    stream.advance(layer, index)
                    meter.layer(stream.tokens.numel())
            for number, cut in enumerate(cuts):
                if cut[-1] == index:
                    totals[number] += sum(
                        _turn(before.fetch(), stream.hidden)
                        for before, stream in zip(waiting[cut[0]], group, strict=True)
                    )
            waiting = {
                start: hidden
                for start, hidden in waiting.items()
                if any(cut[0] == start and cut[-1] > index for cut in cuts)
            }
    return [total / windows.numel() for total in totals]


def _turn(before: Tensor, behind: Tensor) -> float:
    cosines = functional.cosine_similarity(before.float(), behind.float(), dim=-1)
    return (1 - cosines).double().sum().item()
