"""Whether a job fits the memory of its device, asked before the first weight is read."""

from pathlib import Path

import psutil
import torch

from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import Estimate
from pruning_core.recipe import Recipe

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
GIB = 2**30


def available_bytes(device: torch.device) -> int:
    """Memory that a job may still take on `device`: a GPU's own, or the machine's within the container's limit."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return free
    free = psutil.virtual_memory().available
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    return free if limit == "max" else min(free, int(limit))


def require_memory(recipe: Recipe, needed: Estimate, device: torch.device) -> None:
    """Refuse a job whose estimated peak is above what the device has.

    Raises:
        NotEnoughMemoryError: with how much is missing, and what to lower.
    """
    available = available_bytes(device)
    missing = needed.peak_device_bytes - available
    if missing <= 0:
        return
    held = f"{needed.peak_device_bytes / GIB:.2f} GiB are needed on {device}, {missing / GIB:.2f} GiB more than it has."
    per_window = needed.calibration_bytes / recipe.calibration.samples
    affordable = int((needed.calibration_bytes - missing) / per_window)
    if affordable >= 1:
        raise NotEnoughMemoryError(
            "calibration.samples",
            recipe.calibration.samples,
            held,
            f"Ask for at most {affordable} windows of this length, or for a dtype of fewer bytes.",
        )
    raise NotEnoughMemoryError(
        "model",
        recipe.model.id,
        f"{held} The weights and one layer's work alone  do not fit.",
        "Use a device with more memory, or a dtype of fewer bytes.",
    )
