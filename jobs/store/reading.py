"""Every query that changes nothing."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, literal, select, tuple_

from jobs.database import statement
from jobs.models import Job, JobEvent
from jobs.states import State
from jobs.store.cursors import Cursor


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first, and where the next page begins if there is one."""

    jobs: list[Job]
    next: Cursor | None


def get(engine: Engine, job_id: UUID) -> Job | None:
    """Find a job."""
    with statement(engine) as session:
        return session.get(Job, job_id)


def list_jobs(
    engine: Engine,
    *,
    state: State | None = None,
    model: str | None = None,
    method: str | None = None,
    limit: int = 50,
    after: Cursor | None = None,
) -> Page:
    """List jobs, newest first; results are the jobs in state `succeeded`.

    Following `next` visits every job that existed at the first page exactly once, whatever arrives meanwhile.
    """
    query = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)
    if state is not None:
        query = query.where(Job.state == state)
    if model is not None:
        query = query.where(Job.model == model)
    if method is not None:
        query = query.where(Job.method == method)
    if after is not None:
        end = tuple_(literal(after.created_at, Job.created_at.type), literal(after.id, Job.id.type))
        query = query.where(tuple_(Job.created_at, Job.id) < end)
    with statement(engine) as session:
        jobs = list(session.scalars(query))
    if len(jobs) <= limit:
        return Page(jobs, next=None)
    last = jobs[limit - 1]
    return Page(jobs[:limit], next=Cursor(last.created_at, last.id))


def find_all(engine: Engine, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Find those of these jobs that there are."""
    with statement(engine) as session:
        return {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(job_ids)))}


def events(
    engine: Engine, job_id: UUID, kinds: Collection[str] | None = None, after_id: int = 0
) -> list[JobEvent]:
    """List what happened to a job after the event `after_id`, oldest first; `kinds` selects, None is all."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after_id).order_by(JobEvent.id)
    if kinds is not None:
        query = query.where(JobEvent.kind.in_(kinds))
    with statement(engine) as session:
        return list(session.scalars(query))
