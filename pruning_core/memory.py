"""Whether a job fits the memory of its device, and where its calibration rests, asked before a weight is read."""

import bisect
import copy
import shutil
import tempfile
from pathlib import Path

import psutil
import torch

from pruning_core.budgets import Placement
from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import Estimate, estimate
from pruning_core.preflight import Preflight
from pruning_core.shelf import Shelf
from pruning_core.windows import minimum_samples

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
MIB = 2**20


def available_bytes(device: torch.device) -> int:
    """Memory that a job may still take on `device`: a GPU's own, or the machine's within the container's limit."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return free
    free = psutil.virtual_memory().available
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    return free if limit == "max" else min(free, int(limit))


def find_shelf(ready: Preflight, device: torch.device, folder: Path | None) -> Shelf:
    """Find a place for what is held of the calibration text: the quickest that has room.

    Args:
        ready: the job.
        device: where it runs.
        folder: where files may lie; None for the system's folder of temporary ones.

    Raises:
        NotEnoughMemoryError: nowhere; with how much is missing, and what to lower.
    """
    room = _Room(device, folder)
    needed = estimate(ready)
    placement = room.place(needed)
    if placement is not None:
        return Shelf(placement, device, folder)
    samples = ready.recipe.calibration.samples
    possible = range(minimum_samples(ready.recipe.calibration.sequence_length), samples)
    fitting = bisect.bisect_left(
        possible, True, key=lambda fewer: room.place(estimate(_with_samples(ready, fewer))) is None
    )
    missing = f"{needed.peak_device_bytes / MIB:,.1f} MiB are needed on {device}, {room.device / MIB:,.1f} MiB are free"
    if fitting:
        raise NotEnoughMemoryError(
            "calibration.samples",
            samples,
            f"{missing}, and there is no other place for the {needed.calibration_bytes / MIB:,.1f} MiB of them that "
            f"are hidden states ({room.disk / MIB:,.1f} MiB on disk).",
            f"Ask for at most {possible[fitting - 1]} windows of this length, or for a dtype of fewer bytes.",
        )
    raise NotEnoughMemoryError(
        "model",
        ready.recipe.model.id,
        f"{missing}. The weights and one layer's work alone take {needed.least_device_bytes / MIB:,.1f} MiB.",
        "Use a device with more memory, or a dtype of fewer bytes.",
    )


class _Room:
    """Bytes that are free on the device, in the machine's memory and on disk."""

    def __init__(self, device: torch.device, folder: Path | None) -> None:
        self.device = available_bytes(device)
        # On a CPU the device's memory is the machine's.
        self.host = 0 if device.type == "cpu" else available_bytes(torch.device("cpu"))
        self.disk = shutil.disk_usage(folder or tempfile.gettempdir()).free

    def place(self, needed: Estimate) -> Placement | None:
        """The quickest place with room for the hidden states; None if the job does not fit at all."""
        if needed.peak_device_bytes <= self.device:
            return "device"
        if needed.least_device_bytes > self.device:
            return None
        if needed.calibration_bytes <= self.host:
            return "host"
        return "disk" if needed.calibration_bytes <= self.disk else None


def _with_samples(ready: Preflight, samples: int) -> Preflight:
    other = copy.copy(ready)
    calibration = ready.recipe.calibration.model_copy(update={"samples": samples})
    other.recipe = ready.recipe.model_copy(update={"calibration": calibration})
    return other
