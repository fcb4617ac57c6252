"""Whether a job fits the memory of its device, asked before the first weight is read."""

import bisect
import copy
from pathlib import Path

import psutil
import torch

from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import estimate
from pruning_core.preflight import Preflight
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


def require_memory(ready: Preflight, device: torch.device) -> None:
    """Refuse a job whose estimated peak is above what the device has.

    Raises:
        NotEnoughMemoryError: with how much is missing, and what to lower.
    """
    available = available_bytes(device)
    needed = estimate(ready).peak_device_bytes
    if needed <= available:
        return
    samples = ready.recipe.calibration.samples
    held = f"{needed / MIB:,.1f} MiB are needed on {device}, {(needed - available) / MIB:,.1f} MiB more than it has."
    possible = range(minimum_samples(ready.recipe.calibration.sequence_length), samples)
    fitting = bisect.bisect_right(
        possible, available, key=lambda fewer: estimate(_with_samples(ready, fewer)).peak_device_bytes
    )
    if fitting:
        raise NotEnoughMemoryError(
            "calibration.samples",
            samples,
            held,
            f"Ask for at most {possible[fitting - 1]} windows of this length, or for a dtype of fewer bytes.",
        )
    raise NotEnoughMemoryError(
        "model",
        ready.recipe.model.id,
        f"{held} The weights and one layer's work alone do not fit.",
        "Use a device with more memory, or a dtype of fewer bytes.",
    )


def _with_samples(ready: Preflight, samples: int) -> Preflight:
    other = copy.copy(ready)
    calibration = ready.recipe.calibration.model_copy(update={"samples": samples})
    other.recipe = ready.recipe.model_copy(update={"calibration": calibration})
    return other
