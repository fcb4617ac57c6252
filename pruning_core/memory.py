"""Whether a job fits the memory of its device, and where its calibration rests, asked before a weight is read."""

import bisect
import copy
import shutil
import tempfile
from pathlib import Path

import psutil
import torch

from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import Estimate, sizes_of
from pruning_core.placement import MemoryPlan, Room, place
from pruning_core.preflight import Preflight
from pruning_core.recipe import MemoryBudget
from pruning_core.shelf import Shelf
from pruning_core.windows import minimum_samples

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_V1_LIMIT = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where the kernel says it before cgroups had one hierarchy."""

MIB = 2**20
NO_BUDGET = MemoryBudget()


def available_bytes(device: torch.device) -> int:
    """Memory that a job may still take on `device`: a GPU's own, or the machine's within the container's limit."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return free
    free = psutil.virtual_memory().available
    for file in (CGROUP_LIMIT, CGROUP_V1_LIMIT):
        limit = file.read_text().strip() if file.exists() else "max"
        if limit != "max":
            free = min(free, int(limit))
    return free


def plan_memory(
    ready: Preflight, device: torch.device, folder: Path | None, budget: MemoryBudget = NO_BUDGET
) -> tuple[MemoryPlan, Shelf]:
    """Find a place for the decoder layers and for hidden states: the quickest that has room.

    Args:
        ready: the job, with the memory that it may take.
        device: where it runs.
        folder: where files may lie; None for the system's folder of temporary ones.
        budget: what any job may take here.

    Raises:
        NotEnoughMemoryError: nowhere; with how much is missing, and what to lower.
    """
    room = room_on(device, folder, ready.recipe.memory_budget, budget)
    needed, weights = sizes_of(ready), ready.recipe.weights_asked
    plan = place(needed.need, room, weights)
    if plan is None:
        raise _refusal(ready, device, needed, room)
    return plan, Shelf(plan.hidden_states, device, folder, room=needed.calibration_bytes)


def room_on(device: torch.device, folder: Path | None, *budgets: MemoryBudget) -> Room:
    """What there is, within all of these budgets."""
    return Room(
        device=_least(available_bytes(device), *(budget.device for budget in budgets)),
        # On a CPU the device's memory is the machine's.
        host=0
        if device.type == "cpu"
        else _least(available_bytes(torch.device("cpu")), *(budget.host for budget in budgets)),
        disk=shutil.disk_usage(folder or tempfile.gettempdir()).free,
    )


def _least(available: int, *limits: int | None) -> int:
    return min([available, *(limit for limit in limits if limit is not None)])


def _refusal(ready: Preflight, device: torch.device, needed: Estimate, room: Room) -> NotEnoughMemoryError:
    weights, samples = ready.recipe.weights_asked, ready.recipe.calibration.samples
    possible = range(minimum_samples(ready.recipe.calibration.sequence_length), samples)
    fitting = bisect.bisect_left(
        possible,
        True,
        key=lambda fewer: place(sizes_of(_with_samples(ready, fewer)).need, room, weights) is None,
    )
    missing = f"{needed.peak_device_bytes / MIB:,.1f} MiB are needed on {device}, {room.device / MIB:,.1f} MiB are free"
    if fitting:
        return NotEnoughMemoryError(
            "calibration.samples",
            samples,
            f"{missing}, and there is no other place for the {needed.calibration_bytes / MIB:,.1f} MiB of them that "
            f"are hidden states ({room.disk / MIB:,.1f} MiB on disk).",
            f"Ask for at most {possible[fitting - 1]} windows of this length, or for a dtype of fewer bytes.",
        )
    streamed = needed.streamed_device_bytes
    if streamed is None or weights == "resident":
        least, what = needed.least_device_bytes, "The weights and one layer's work alone take"
    else:
        least, what = streamed, "With one layer at a time, read from the checkpoint, its work alone takes"
    return NotEnoughMemoryError(
        "model",
        ready.recipe.model.id,
        f"{missing}. {what} {least / MIB:,.1f} MiB.",
        "Use a device with more memory, a larger memory_budget, or a dtype of fewer bytes.",
    )


def _with_samples(ready: Preflight, samples: int) -> Preflight:
    other = copy.copy(ready)
    calibration = ready.recipe.calibration.model_copy(update={"samples": samples})
    other.recipe = ready.recipe.model_copy(update={"calibration": calibration})
    return other
