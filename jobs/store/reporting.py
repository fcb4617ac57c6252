"""What a running job says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from jobs.database import transaction
from jobs.models import Job
from jobs.states import Stage
from jobs.store import journal
from jobs.store.fencing import Lease, hold
from jobs.store.json_values import storable
from jobs.store.transitions import change


@dataclass(frozen=True, slots=True)
class Event:
    """Something the worker saw: a JSON object under a word of its own."""

    kind: str
    data: dict[str, Any]


def record(engine: Engine, lease: Lease, events: Sequence[Event]) -> None:
    """Write a batch of events of a running job, all or none; the job stays running.

    Three kinds also change the job itself: `stage` {"stage"}, `dense` {"perplexity", "parameters", "dtype"} for
    the model before the cut, and `progress` {"fraction", "eta_seconds"}. Progress is the only one that leaves
    no row in the event table, where a single job would write thousands of them.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
    """
    with transaction(engine) as session:
        job = hold(session, lease)
        changes = _changes(job, events)
        if changes:
            job = change(session, job, **changes)
        for event in events:
            if event.kind != "progress":
                journal.append(session, job, event.kind, event.data)


def _changes(job: Job, events: Sequence[Event]) -> dict[str, Any]:
    """Fold a batch into the columns it changes."""
    changes: dict[str, Any] = {}
    progress = job.progress
    for event in events:
        data = storable(event.data)
        match event.kind:
            case "stage":
                changes["stage"] = Stage(data["stage"])
            case "progress":
                if data["fraction"] is not None:
                    # A worker that goes back over a layer, or sums up to 1.0000000002, is not an error.
                    progress = min(max(progress, data["fraction"]), 1.0)
                    changes["progress"] = progress
                eta = data["eta_seconds"]
                changes["eta_seconds"] = None if eta is None else max(round(eta), 0)
            case "dense":
                changes["perplexity_before"] = data["perplexity"]
                changes["parameters_before"] = data["parameters"]
                changes["dtype"] = data["dtype"]
    return changes
