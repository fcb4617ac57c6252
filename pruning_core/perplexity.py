"""Perplexity by the field's protocol: non-overlapping windows, mean loss of the shifted targets, exponentiated."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pruning_core import budgets
from pruning_core.errors import BrokenModelError
from pruning_core.finiteness import OVERFLOW_REMEDY, require_finite_activations
from pruning_core.layered_model import LayeredModel
from pruning_core.progress import Meter
from pruning_core.resting import groups
from pruning_core.shelf import Shelf


def token_losses(model: LayeredModel, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Next-token losses of windows, in nats: [windows, positions − 1], float32, on the CPU.

    Args:
        model: gives the logits.
        hidden: [windows, positions, hidden size], behind the last decoder layer.
        tokens: [windows, positions].
    """
    flat = hidden[:, :-1].flatten(0, 1)
    targets = tokens[:, 1:].flatten()
    chunk = max(1, budgets.LOGITS_PER_CHUNK // model.config.vocab_size)
    losses = [
        functional.cross_entropy(model.logits(states)[0].float(), wanted, reduction="none").cpu()
        for states, wanted in zip(flat.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat(losses).view(len(tokens), -1)


def loss_sum(model: LayeredModel, hidden: Tensor, tokens: Tensor) -> float:
    """Sum of `token_losses`."""
    return token_losses(model, hidden, tokens).double().sum().item()


def mean_loss(model: LayeredModel, windows: Tensor, meter: Meter, shelf: Shelf) -> float:
    """`mean_losses` of one text."""
    (loss,) = mean_losses(model, [windows], meter, shelf)
    return loss


@torch.no_grad()
def mean_losses(model: LayeredModel, texts: Sequence[Tensor], meter: Meter, shelf: Shelf) -> list[float]:
    """Mean next-token losses over windows of token ids, [windows, positions], of several texts, in nats per token.

    Raises:
        BrokenModelError: the activations of a layer are not finite.
    """
    totals = [0.0 for _ in texts]
    for group in groups(model, texts, shelf):
        streams = [stream for text in group for stream in text]
        for index in range(len(model)):
            with model.open(index) as layer:
                for stream in streams:
                    stream.advance(layer, index)
                    require_finite_activations(stream.hidden, index)
                    meter.layer(stream.tokens.numel())
        for number, text in enumerate(group):
            for stream in text:
                totals[number] += loss_sum(model, stream.hidden, stream.tokens)
                meter.head(stream.tokens.numel())
    return [total / predictions(windows) for total, windows in zip(totals, texts, strict=True)]


def predictions(windows: Tensor) -> int:
    """How many next tokens windows predict: all but the first of each."""
    return windows.shape[0] * (windows.shape[1] - 1)


def exponentiate(loss: float) -> float:
    """Turn a mean loss into a perplexity; infinite where a float cannot hold it, NaN for NaN."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def perplexity_of(loss: float, what: str) -> float:
    """Exponentiate a mean loss.

    Raises:
        BrokenModelError: the loss is not finite.
    """
    perplexity = exponentiate(loss)
    if not math.isfinite(perplexity):
        raise BrokenModelError(
            f"The perplexity of {what} is {perplexity}: some weight or activation is not finite. {OVERFLOW_REMEDY}"
        )
    return perplexity
