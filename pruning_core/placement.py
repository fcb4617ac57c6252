"""Where a job's decoder layers and its hidden states go: as near to the device as there is room."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic import BaseModel

from pruning_core.budgets import Placement, Solver, Weights


class MemoryPlan(BaseModel):
    """Where the decoder layers are while a job runs, where its hidden states rest, and where a layer is solved."""

    weights: Weights
    hidden_states: Placement
    solver: Solver = "device"


@dataclass(frozen=True)
class Need:
    """What a job takes, in bytes.

    Attributes:
        peak: of the device, with all layers, all hidden states and the solver there.
        resident: of the device, with the hidden states elsewhere.
        streamed: of the device, with one layer at a time as well; None for a model that cannot be streamed.
        read_ahead: of the machine's memory, for the layers that come next.
        hidden_states: of where they rest.
        solver: of these, what sums and the solver's matrices take, which can be in the machine's memory.
        beside_solver: of the device, where they are.
    """

    peak: int
    resident: int
    streamed: int | None
    read_ahead: int
    hidden_states: int
    solver: int = 0
    beside_solver: int = 0


@dataclass(frozen=True)
class Room:
    """How many bytes there are, of the machine's memory those beside the device's: none if the device is the CPU."""

    device: int
    host: int
    disk: int


def place(need: Need, room: Room, weights: Weights | None = None) -> MemoryPlan | None:
    """Find the quickest plan for which there is room.

    Streamed layers are read in every pass, so they stay if they can, wherever the hidden states must go for it. The
    solver leaves the device last, for a GPU solves many times as fast as its host.

    Args:
        need: what the job takes.
        room: what there is.
        weights: where the layers shall be; None for where they can.

    Returns:
        The plan; None if none fits.
    """
    fitting = (plan for plan in _fitting(need, room) if weights in {None, plan.weights})
    return next(fitting, None)


def _fitting(need: Need, room: Room) -> Iterator[MemoryPlan]:
    """The plans that fit, the quickest first."""
    yield from _solved_on("device", need, room)
    if need.solver and need.solver <= room.host:
        lighter = need.solver - need.beside_solver
        away = replace(room, device=room.device + lighter, host=room.host - need.solver)
        yield from _solved_on("host", need, away)


def _solved_on(solver: Solver, need: Need, room: Room) -> Iterator[MemoryPlan]:
    if need.peak <= room.device:
        yield MemoryPlan(weights="resident", hidden_states="device", solver=solver)
    if need.resident <= room.device:
        yield from _away("resident", solver, need, room.host, room.disk)
    if need.streamed is None or need.streamed > room.device:
        return
    if need.streamed + need.hidden_states <= room.device:
        yield MemoryPlan(weights="streamed", hidden_states="device", solver=solver)
    yield from _away("streamed", solver, need, room.host - need.read_ahead, room.disk)


def _away(weights: Weights, solver: Solver, need: Need, host: int, disk: int) -> Iterator[MemoryPlan]:
    if need.hidden_states <= host:
        yield MemoryPlan(weights=weights, hidden_states="host", solver=solver)
    if need.hidden_states <= disk:
        yield MemoryPlan(weights=weights, hidden_states="disk", solver=solver)
