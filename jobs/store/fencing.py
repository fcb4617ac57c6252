"""The lease on a job, and the fence it puts around every write of its holder."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.models import Job
from jobs.states import State


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job until somebody else is given it; `claim` grows from one to the next."""

    job_id: UUID
    token: UUID
    attempt: int
    request: dict[str, Any]
    claim: int


class LeaseLost(Exception):  # noqa: N818 - says what happened
    """The job is no longer this worker's: it must stop, and nothing it says is written."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"the lease of attempt {lease.attempt} on job {lease.job_id} is gone")


def hold(session: Session, lease: Lease) -> Job:
    """Lock the running job that `lease` still holds: nobody can take it before the transaction ends.

    Raises:
        LeaseLost: The job was given to another worker, was requeued or has finished.
    """
    held = (
        select(Job)
        .where(Job.id == lease.job_id, Job.lease_token == lease.token, Job.state == State.RUNNING)
        .with_for_update()
    )
    job = session.scalars(held).one_or_none()
    if job is None:
        raise LeaseLost(lease)
    return job
