"""queued → running, and back when a worker stops in good order."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Engine, func, or_, select, update

from jobs.database import statement, transaction
from jobs.models import Job
from jobs.states import Stage, State
from jobs.store import journal
from jobs.store.fencing import Lease, hold
from jobs.store.transitions import cancel, change, is_overdue, requeue


@dataclass(frozen=True, slots=True)
class Renewal:
    """What the holder of a lease learns by renewing it."""

    cancel_requested: bool
    deadline_passed: bool


def claim(engine: Engine, job_id: UUID, worker: str, lease_seconds: float) -> Lease | None:
    """Move a job from queued to running, with a lease for `worker`.

    Returns:
        The lease, or None if the job is not there to be had: unknown, no longer queued, backing off or overdue.
    """
    token = uuid4()
    claimed = (
        update(Job)
        .where(Job.id == job_id, *_claimable())
        .values(
            state=State.RUNNING,
            stage=Stage.LOADING,
            attempt=Job.attempt + 1,
            lease_token=token,
            lease_expires_at=func.clock_timestamp() + timedelta(seconds=lease_seconds),
            worker=worker,
            started_at=func.coalesce(Job.started_at, func.clock_timestamp()),
        )
        .returning(Job)
    )
    with transaction(engine) as session:
        job = session.scalars(claimed).one_or_none()
        if job is None:
            return None
        number = journal.append(session, job, "claimed", {"worker": worker})
        return Lease(job.id, token, job.attempt, job.request, number)


def next_claimable(engine: Engine) -> UUID | None:
    """Name the oldest job that could be claimed now."""
    oldest = select(Job.id).where(*_claimable()).order_by(Job.created_at, Job.id).limit(1)
    with statement(engine) as session:
        return session.scalar(oldest)


def _claimable() -> tuple[ColumnElement[bool], ...]:
    return (
        Job.state == State.QUEUED,
        Job.available_at <= func.now(),
        or_(Job.deadline_at.is_(None), Job.deadline_at > func.now()),
    )


def renew(engine: Engine, lease: Lease, lease_seconds: float) -> Renewal:
    """Keep a running job for another `lease_seconds`. A late renewal counts as long as nobody took the job.

    Raises:
        LeaseLost: Somebody did, or the job is no longer running.
    """
    expiry = func.clock_timestamp() + timedelta(seconds=lease_seconds)
    with transaction(engine) as session:
        job = change(session, hold(session, lease), lease_expires_at=expiry)
        return Renewal(
            cancel_requested=job.cancel_requested_at is not None,
            deadline_passed=is_overdue(session, job),
        )


def hand_back(engine: Engine, lease: Lease, reason: str) -> Job:
    """Move a job from running to queued, claimable at once and with this attempt not counted.

    The caller may publish a wake-up; otherwise the reconciler does. A job whose cancel was requested goes to
    cancelled instead, since no other worker should start it.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
    """
    with transaction(engine) as session:
        job = hold(session, lease)
        journal.append(session, job, "handed_back", {"reason": reason})
        if job.cancel_requested_at is not None:
            return cancel(session, job)
        return requeue(session, job, attempt=job.attempt - 1, delay=timedelta(0))
