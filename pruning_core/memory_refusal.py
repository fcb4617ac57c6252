"""A job that fits nowhere, told with how much is missing and which knob lowers it. Without torch."""

import bisect
import copy

from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import ENDLESS, Estimate, room_of_budget, sizes_of
from pruning_core.placement import Room, place
from pruning_core.preflight import Preflight
from pruning_core.windows import minimum_samples

MIB = 2**20


def require_fitting_budget(ready: Preflight) -> None:
    """Refuse a request whose own memory budget is too small for it, wherever it would run.

    Raises:
        NotEnoughMemoryError: with what to lower.
    """
    room = room_of_budget(ready)
    if room is not None and place(sizes_of(ready).need, room, ready.recipe.weights_asked) is None:
        raise not_enough_memory(ready, "the device (memory_budget.device)", room)


def not_enough_memory(ready: Preflight, device: str, room: Room) -> NotEnoughMemoryError:
    """Tell that a job does not fit.

    Args:
        ready: the job.
        device: what it does not fit, for people.
        room: what there is.
    """
    needed, weights = sizes_of(ready), ready.recipe.weights_asked
    samples = ready.recipe.calibration.samples
    possible = range(minimum_samples(ready.recipe.calibration.sequence_length), samples)
    fitting = bisect.bisect_left(
        possible,
        True,
        key=lambda fewer: place(sizes_of(_with_samples(ready, fewer)).need, room, weights) is None,
    )
    missing = f"{_mib(needed.peak_device_bytes)} are needed on {device}, {_mib(room.device)} are free"
    if fitting:
        return NotEnoughMemoryError(
            "calibration.samples",
            samples,
            f"{missing}, and there is no other place for the {_mib(needed.calibration_bytes)} of them that "
            f"are hidden states{'' if room.disk >= ENDLESS else f' ({_mib(room.disk)} on disk)'}.",
            f"Ask for at most {possible[fitting - 1]} windows of this length, or for a dtype of fewer bytes.",
        )
    return NotEnoughMemoryError(
        "model",
        ready.recipe.model.id,
        f"{missing}. {_least(needed, room, streams=weights != 'resident')}",
        "Use a device with more memory, a larger memory_budget, or a dtype of fewer bytes.",
    )


def _least(needed: Estimate, room: Room, *, streams: bool) -> str:
    if needed.streamed_device_bytes is None or not streams:
        least, what = needed.least_device_bytes, "The weights and one layer's work alone take"
    else:
        least, what = (
            needed.streamed_device_bytes,
            "With one layer at a time, read from the checkpoint, its work alone takes",
        )
    said = f"{what} {_mib(least)}"
    if not room.host or not needed.solver_bytes:
        return f"{said}."
    beside = least - needed.solver_bytes + needed.beside_solver_bytes
    free = "" if room.host >= ENDLESS else f", of which {_mib(room.host)} are free"
    there = f"{_mib(beside)} there and {_mib(needed.solver_bytes)} of that{free}"
    return f"{said}; solved in the machine's memory, {there}."


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f} MiB"


def _with_samples(ready: Preflight, samples: int) -> Preflight:
    other = copy.copy(ready)
    calibration = ready.recipe.calibration.model_copy(update={"samples": samples})
    other.recipe = ready.recipe.model_copy(update={"calibration": calibration})
    return other
