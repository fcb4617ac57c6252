"""A part of a round that one process scores."""

from itertools import pairwise
from math import ceil

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pruning_core.depth.cuts import Cut

LITTLE_ENDIAN_FLOAT32 = "<f4"


class Share(BaseModel):
    """Windows `start` to `end` of the search, the first `positions` of each, to be scored for some cuts."""

    model_config = ConfigDict(frozen=True)

    cuts: tuple[Cut, ...]
    start: int
    end: int
    positions: int

    def of(self, windows: Tensor) -> Tensor:
        """Its part of all windows of the search, [windows, positions]."""
        return windows[self.start : self.end, : self.positions]

    def pack(self, losses: Tensor) -> bytes:
        """Turn its losses, [cuts, windows, positions − 1] in float32, into bytes that keep every bit of them."""
        return losses.numpy().astype(LITTLE_ENDIAN_FLOAT32).tobytes()

    def unpack(self, packed: bytes) -> Tensor:
        """Turn the bytes back into losses, [cuts, windows, positions − 1].

        Raises:
            ValueError: these are not the losses of this share.
        """
        losses = np.frombuffer(packed, LITTLE_ENDIAN_FLOAT32).astype(np.float32)
        return torch.from_numpy(losses.reshape(len(self.cuts), self.end - self.start, self.positions - 1))


def share_out(whole: Share, batch: int, people: int) -> list[Share]:
    """Split a round into runs of whole batches, at most one for each of `people` and the largest first."""
    windows = whole.end - whole.start
    batches = ceil(windows / batch)
    people = min(people, batches)
    # Rounded up: who shares out already has the model in memory.
    bounds = [whole.start + min(windows, ceil(batches * part / people) * batch) for part in range(people + 1)]
    return [whole.model_copy(update={"start": start, "end": end}) for start, end in pairwise(bounds)]
