"""Where the calibration's hidden states and what goes with them rest while others are worked on."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pruning_core.budgets import Placement
from pruning_core.disk_room import reserve


class Kept(Protocol):
    """A tensor that was put away."""

    @property
    def tensor(self) -> Tensor:
        """It where it rests, to be read only."""

    def fetch(self) -> Tensor:
        """Give it back, on the device, to be read only."""


class Shelf:
    """Puts tensors away, all of them in one kind of place.

    Attributes:
        placement: which.
        room: bytes that were planned for; None for any number. Who holds more at a time must find out for himself.
        solver: where sums over the tokens are kept, and solved.
    """

    def __init__(
        self,
        placement: Placement,
        device: torch.device,
        folder: Path | None = None,
        *,
        room: int | None = None,
        solver: torch.device | None = None,
    ) -> None:
        """Choose the place.

        Args:
            placement: which.
            device: where tensors are worked on.
            folder: where files go; None for the system's folder of temporary ones.
            room: bytes that were planned for; None for any number.
            solver: where sums over the tokens are kept; None for the device.
        """
        self.placement, self.room = placement, room
        self.solver = solver or device
        self._device, self._folder = device, folder

    def keep(self, tensor: Tensor) -> Kept:
        """Put a tensor away; it must not be changed afterwards."""
        if self.placement == "device":
            return _There(tensor)
        if self.placement == "host":
            return _Elsewhere(tensor.cpu(), self._device)
        return _Elsewhere(_map(tensor, self._folder), self._device)


@dataclass(frozen=True)
class _There:
    tensor: Tensor

    def fetch(self) -> Tensor:
        return self.tensor


@dataclass(frozen=True)
class _Elsewhere:
    tensor: Tensor
    device: torch.device

    def fetch(self) -> Tensor:
        return self.tensor.to(self.device)


def _map(tensor: Tensor, folder: Path | None) -> Tensor:
    """Copy a tensor into a file that has no name any more: it is gone with the last who reads it, however that ends."""
    if not tensor.numel():
        return tensor.cpu()
    with tempfile.NamedTemporaryFile(dir=folder, prefix="secateur-") as file:
        # A full disk is an error here, and would be a signal where a page of the map is written.
        reserve(file.fileno(), tensor.nbytes, "hidden states")
        mapped = torch.from_file(file.name, shared=True, size=tensor.numel(), dtype=tensor.dtype)
    return mapped.view(tensor.shape).copy_(tensor)
