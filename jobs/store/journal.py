"""The one place that adds rows to `job_events`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from jobs.models import Job, JobEvent
from jobs.store.json_values import storable


def append(session: Session, job: Job, kind: str, data: Mapping[str, Any]) -> int:
    """Add an event to a job whose row this transaction has locked.

    The lock matters: it makes the events of one job visible in the order of their ids, so a reader who asks
    for those after the last id it saw never misses one that was committed late.

    Returns:
        The event's id, larger than those of all events of the job before it.
    """
    event = insert(JobEvent).values(job_id=job.id, attempt=job.attempt, kind=kind, data=storable(dict(data)))
    return session.execute(event.returning(JobEvent.id)).scalar_one()
