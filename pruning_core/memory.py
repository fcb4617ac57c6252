"""Whether a job fits the memory of its device, and where its calibration rests, asked before a weight is read."""

import shutil
import tempfile
from pathlib import Path

import psutil
import torch

from pruning_core.estimate import sizes_of
from pruning_core.memory_refusal import not_enough_memory
from pruning_core.placement import MemoryPlan, Room, place
from pruning_core.preflight import Preflight
from pruning_core.recipe import MemoryBudget
from pruning_core.shelf import Shelf

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_V1_LIMIT = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where the kernel says it before cgroups had one hierarchy."""

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
    """Find a place for the decoder layers, for hidden states and for the solver: the quickest that has room.

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
        raise not_enough_memory(ready, str(device), room)
    solver = device if plan.solver == "device" else torch.device("cpu")
    return plan, Shelf(plan.hidden_states, device, folder, room=needed.calibration_bytes, solver=solver)


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
