"""A round of a search scored by several processes, with the losses that one alone would get."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pruning_core.depth.conditions import Conditions
from pruning_core.depth.cuts import layer_passes
from pruning_core.depth.share import Share, share_out
from pruning_core.depth.sweep import name_of, name_of_walk, score_batches, score_cuts, sweep_batch
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import NO_LEDGER, Ledger
from pruning_core.progress import Meter
from pruning_core.shelf import Shelf


class Helpers(Protocol):
    """Other processes that score shares of a round, each with the model and the windows of its own."""

    @property
    def number(self) -> int:
        """How many may be asked at a time."""

    def offer(self, shares: Sequence[Share], conditions: Conditions) -> None:
        """Ask for the losses of each share under these conditions, and return at once."""

    def collect(self) -> Sequence[Tensor | None]:
        """Wait, as long as is reasonable, for what was offered last.

        Returns:
            For each share its losses, [cuts, windows, positions − 1], or None where nobody scored it.
        """


def score_round(  # noqa: PLR0917  most are `score_cuts`'s
    model: LayeredModel,
    windows: Tensor,
    whole: Share,
    meter: Meter,
    shelf: Shelf,
    helpers: Helpers | None,
    ledger: Ledger = NO_LEDGER,
) -> Tensor:
    """Score a round, together with the helpers if there is more than a batch for each.

    What no helper scored is scored here, so the losses are those of `score_cuts`, to the last bit, in any case.

    Args:
        model: the dense model, left as it is.
        windows: [windows, positions] token ids of the whole search.
        whole: the round.
        meter: told of each piece of work, here or elsewhere.
        shelf: where hidden states rest.
        helpers: others to ask; None for nobody.
        ledger: keeps the losses.

    Returns:
        [cuts, windows of the round, positions − 1], float32, in nats, on the CPU.
    """

    def score() -> Tensor:
        batch = sweep_batch(model, whole.positions, whole.cuts)
        own, *others = share_out(whole, batch, 1 + (helpers.number if helpers else 0))
        if helpers is None or not others:
            return score_cuts(model, whole.of(windows), whole.cuts, meter, shelf, ledger)
        helpers.offer(others, Conditions.of(model, windows))
        scored = [score_batches(model, own.of(windows), own.cuts, meter, shelf, ledger)]
        for share, losses in zip(others, helpers.collect(), strict=True):
            if losses is None:
                scored.append(score_batches(model, share.of(windows), share.cuts, meter, shelf, ledger))
                continue
            tokens = share.of(windows).numel()
            meter.layer(layer_passes(len(model), share.cuts) * tokens)
            meter.head(len(share.cuts) * tokens)
            scored.append(losses)
        return torch.cat(scored, dim=1)

    part = whole.of(windows)
    losses = ledger.recall_losses(f"round-{name_of(whole.cuts, part)}", score, meter)
    ledger.finish(name_of_walk(whole.cuts, part))
    return losses
