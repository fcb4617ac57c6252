"""The ways out of `queued` and `running` that more than one room leads to. Each takes a job its caller has locked."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from jobs.models import Job, JobShare
from jobs.problem import problem
from jobs.states import State
from jobs.store import journal
from jobs.store.json_values import storable

_RELEASED: Final[dict[str, None]] = {
    "stage": None,
    "eta_seconds": None,
    "lease_token": None,
    "lease_expires_at": None,
    "worker": None,
}


def change(session: Session, job: Job, **values: Any) -> Job:
    """Write to a locked job and read back what the database made of it."""
    statement = update(Job).where(Job.id == job.id).values(**values).returning(Job)
    reread = {"synchronize_session": False, "populate_existing": True}
    return session.scalars(statement, execution_options=reread).one()


def let_go(session: Session, job: Job, **values: Any) -> Job:
    """Running → whatever `values` say, without the lease and the shares that were offered under it."""
    session.execute(delete(JobShare).where(JobShare.job_id == job.id))
    return change(session, job, **values, **_RELEASED)


def requeue(session: Session, job: Job, *, attempt: int, delay: timedelta) -> Job:
    """Running → queued, with `attempt` claims counted and no claim before `delay` has passed."""
    return let_go(
        session,
        job,
        state=State.QUEUED,
        attempt=attempt,
        progress=0.0,
        available_at=func.clock_timestamp() + delay,
    )


def cancel(session: Session, job: Job) -> Job:
    """Running → cancelled. A CHECK refuses it if nobody asked for the cancel."""
    job = let_go(session, job, state=State.CANCELLED, finished_at=func.clock_timestamp())
    journal.append(session, job, "cancelled", {})
    return job


def is_overdue(session: Session, job: Job) -> bool:
    """Tell whether the job's deadline has passed, by the database's clock."""
    if job.deadline_at is None:
        return False
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return job.deadline_at <= now


def miss_deadline(session: Session, job: Job) -> Job:
    """Queued or running → failed. A CHECK refuses it of a queued job whose deadline has not passed."""
    assert job.deadline_at is not None  # noqa: S101  it is overdue
    error = problem(
        "deadline-passed",
        "The deadline passed",
        HTTPStatus.GATEWAY_TIMEOUT,
        f"The job had not ended by {job.deadline_at:%Y-%m-%d %H:%M:%S} UTC. "
        "Retry it when there are fewer jobs, or submit it with more deadline_seconds, or with less to do.",
    )
    return fail(session, job, error)


def fail(session: Session, job: Job, error: dict[str, Any]) -> Job:
    """Queued or running → failed, for the reason in the problem object `error`."""
    job = let_go(
        session,
        job,
        state=State.FAILED,
        finished_at=func.clock_timestamp(),
        error=storable(error),
    )
    journal.append(session, job, "failed", {"error": error})
    return job
