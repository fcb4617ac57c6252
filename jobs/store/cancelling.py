"""queued → cancelled at once; a running job is asked to stop."""

from uuid import UUID

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from jobs.database import transaction
from jobs.models import Job
from jobs.states import TERMINAL, State
from jobs.store import journal
from jobs.store.transitions import change


class AlreadyFinished(Exception):  # noqa: N818 - says what happened
    """The job is succeeded, failed or cancelled, and stays so."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} is already {job.state}")
        self.job = job


class NotTheirs(Exception):  # noqa: N818 - says what happened
    """The job was submitted by somebody else."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was submitted by {job.submitted_by}")
        self.job = job


def request_cancel(engine: Engine, job_id: UUID, *, submitted_by: str | None = None) -> Job | None:
    """Move a queued job to cancelled; of a running one, ask its worker to. Asking again changes nothing.

    Args:
        engine: The database.
        job_id: Which job.
        submitted_by: Who asks, if only those may who submitted it; None may always.

    Returns:
        The job as it is now, or None if there is no such job.

    Raises:
        AlreadyFinished: The job was succeeded, failed or cancelled before.
        NotTheirs: Somebody else submitted it.
    """
    with transaction(engine) as session:
        job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
        if job is None:
            return None
        theirs = submitted_by in {None, job.submitted_by}
        finished = job.state in TERMINAL
        if theirs and not finished and job.cancel_requested_at is None:
            job = _request(session, job)
    # Not inside: the rollback that an exception brings would take the job's values with it.
    if not theirs:
        raise NotTheirs(job)
    if finished:
        raise AlreadyFinished(job)
    return job


def _request(session: Session, job: Job) -> Job:
    now = func.clock_timestamp()
    if job.state == State.QUEUED:
        job = change(session, job, state=State.CANCELLED, cancel_requested_at=now, finished_at=now)
        journal.append(session, job, "cancelled", {})
    else:
        job = change(session, job, cancel_requested_at=now)
        journal.append(session, job, "cancel_requested", {})
    return job
