"""The loss of every run of layers that could go, in one sweep over the model."""

import torch
from torch import Tensor

from pruning_core.perplexity import loss_sum, predictions
from pruning_core.progress import CostModel, Meter
from pruning_core.streaming import LayeredModel, batches


def sweep_cost(layers: int, run_length: int, tokens: int, costs: CostModel) -> float:
    """Cost of `score_runs`, in the units of `CostModel`."""
    candidates = layers - run_length + 1
    behind_the_cuts = sum(layers - start - run_length for start in range(candidates))
    return tokens * (layers - run_length + behind_the_cuts + costs.head * candidates)


@torch.no_grad()
def score_runs(model: LayeredModel, windows: Tensor, run_length: int, meter: Meter) -> list[float]:
    """Mean loss of the model without layers s … s + run_length − 1, for every s.

    The model without a run gives what the dense model gives up to the run, so all candidates share the dense stream
    until they leave it, and each decoder layer is opened once per batch for all streams that pass through it.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids.
        run_length: consecutive decoder layers to leave out, at least one and fewer than there are.
        meter: told of each piece of work.

    Returns:
        Mean next-token loss in nats, indexed by s.
    """
    layers = len(model)
    candidates = layers - run_length + 1
    losses = [0.0] * candidates
    for tokens in batches(windows, model.device):
        dense = model.embed(tokens)
        rejoined: dict[int, Tensor] = {}
        waiting: dict[int, Tensor] = {}
        for index in range(layers):
            if index < candidates:
                waiting[index] = dense.hidden
            if index >= run_length:
                rejoined[index - run_length] = waiting.pop(index - run_length)
            with model.open(index) as layer:
                for start, hidden in rejoined.items():
                    rejoined[start] = dense.run(layer, index, hidden)
                    meter.layer(tokens.numel())
                # No candidate leaves the dense stream after the last start.
                if index < candidates - 1:
                    dense.hidden = dense.run(layer, index)
                    meter.layer(tokens.numel())
        # The candidate that drops the last layers has nothing left to rejoin.
        for start, hidden in (rejoined | waiting).items():
            losses[start] += loss_sum(model, hidden, dense.tokens)
            meter.head(tokens.numel())
    return [loss / predictions(windows) for loss in losses]
