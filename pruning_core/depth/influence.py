"""Block influence: how much a run of layers turns the hidden states (Men et al., "ShortGPT", 2024, equation 1)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.depth.cuts import Cut
from pruning_core.progress import Meter
from pruning_core.streaming import LayeredModel, batches


@torch.no_grad()
def block_influences(model: LayeredModel, windows: Tensor, cuts: Sequence[Cut], meter: Meter) -> list[float]:
    """1 − the mean cosine of the hidden states before the first and behind the last layer of each run.

    One pass of the dense model. It costs little beside the perplexities, and knows nothing of what later layers make of
    the turn.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        cuts: runs of consecutive layers.
        meter: told of each piece of work.
    """
    totals = [0.0 for _ in cuts]
    for tokens in batches(windows, model.device):
        stream = model.embed(tokens)
        waiting: dict[int, Tensor] = {}
        for index in range(len(model)):
            if any(cut[0] == index for cut in cuts):
                waiting[index] = stream.hidden
            with model.open(index) as layer:
                stream.hidden = stream.run(layer, index)
            meter.layer(tokens.numel())
            for number, cut in enumerate(cuts):
                if cut[-1] == index:
                    cosines = functional.cosine_similarity(
                        waiting[cut[0]].float(), stream.hidden.float(), dim=-1
                    )
                    totals[number] += (1 - cosines).double().sum().item()
            waiting = {
                start: hidden
                for start, hidden in waiting.items()
                if any(cut[0] == start and cut[-1] > index for cut in cuts)
            }
    return [total / windows.numel() for total in totals]
