"""Nothing → queued."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import Engine, Interval, Row, Select, Table, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from jobs.api_keys import NO_KEY
from jobs.database import statement
from jobs.models import ApiKey, Job
from jobs.states import State

# Of the table, without a session, and made once: the ORM's insert took longer than all the rest of a submission.
_JOBS = cast("Table", Job.__table__)
_CREATION = (
    insert(_JOBS)
    .values(deadline_at=func.clock_timestamp() + bindparam("time_allowed", type_=Interval))
    # Waits for a concurrent post with the same key, so that its row is visible to the query for it.
    .on_conflict_do_nothing(
        index_elements=[Job.submitted_by, Job.idempotency_key],
        index_where=Job.idempotency_key.is_not(None),
    )
    # What only the database knows.
    .returning(_JOBS.c.id, _JOBS.c.created_at, _JOBS.c.available_at, _JOBS.c.deadline_at)
)


@dataclass(frozen=True, slots=True)
class Submission:
    """The job a request led to, and whether this call created it."""

    job: Job
    created: bool


class IdempotencyConflict(Exception):  # noqa: N818 - says what happened
    """The idempotency key already stands for another request."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"the idempotency key {job.idempotency_key!r} was first used for job {job.id}")
        self.job = job


class QueueQuotaReached(Exception):  # noqa: N818 - says what happened
    """As many jobs of this submitter wait as may."""

    def __init__(self, submitted_by: str, limit: int) -> None:
        super().__init__(f"{submitted_by} has {limit} jobs queued")
        self.limit = limit


def submit(
    engine: Engine,
    request: dict[str, Any],
    *,
    sent: dict[str, Any] | None = None,
    model: str,
    method: str,
    ratio: float,
    dataset: str,
    idempotency_key: str | None = None,
    submitted_by: str = NO_KEY,
    max_queued_jobs: int | None = None,
    max_attempts: int = 3,
    deadline_seconds: float | None = None,
) -> Submission:
    """Queue a job, or find the one that the same key and request queued before.

    Args:
        engine: The database.
        request: The accepted request with its defaults filled in; the worker gets exactly this.
        sent: The request as it was sent, by which a repeated post is recognised; `request` if not given.
        model: The model's label, for filters and lists. So are `method`, `ratio` and `dataset`.
        method: `osscar` or `depth`.
        ratio: What the request asks to remove.
        dataset: The text that perplexity is measured on.
        idempotency_key: Unique per submitter; a repeated post with it creates nothing.
        submitted_by: The name of an API key.
        max_queued_jobs: How many jobs of this key may wait at a time; None is any number.
        max_attempts: How many lost workers make the job a failure.
        deadline_seconds: After how long it has failed if it has not ended; None is never.

    Raises:
        IdempotencyConflict: The key was used before with another request.
        QueueQuotaReached: Too many jobs wait already; nothing was queued.
    """
    digest = _digest(request if sent is None else sent)
    values: dict[str, Any] = {
        "state": State.QUEUED,
        "progress": 0.0,
        "request": request,
        "request_digest": digest,
        "model": model,
        "method": method,
        "ratio": ratio,
        "dataset": dataset,
        "idempotency_key": idempotency_key,
        "submitted_by": submitted_by,
        "attempt": 0,
        "max_attempts": max_attempts,
    }
    parameters = values | {
        "time_allowed": None if deadline_seconds is None else timedelta(seconds=deadline_seconds)
    }
    if max_queued_jobs is None:
        created = _create(engine, parameters)
    else:
        created = _create_within_quota(engine, parameters, max_queued_jobs)
    if created is not None:
        return Submission(Job(**values, **created._mapping), created=True)
    with statement(engine) as session:
        job = session.scalars(_first_use(idempotency_key, submitted_by)).one()
    return Submission(_same(job, digest), created=False)


def find_submitted(
    engine: Engine, sent: dict[str, Any], *, idempotency_key: str, submitted_by: str = NO_KEY
) -> Job | None:
    """Find the job that the same key and request queued before, without queueing one.

    Asked before a request is checked: what was accepted once is accepted again, even if the Hub is down now.

    Raises:
        IdempotencyConflict: The key was used before with another request.
    """
    with statement(engine) as session:
        job = session.scalars(_first_use(idempotency_key, submitted_by)).one_or_none()
    return None if job is None else _same(job, _digest(sent))


def _first_use(idempotency_key: str | None, submitted_by: str) -> Select[Job]:
    return select(Job).where(Job.submitted_by == submitted_by, Job.idempotency_key == idempotency_key)


def _create(engine: Engine, parameters: dict[str, Any]) -> Row[Any] | None:
    """Insert a job, in the one round trip that is a transaction of its own; None if its key was used before."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return connection.execute(_CREATION, parameters).one_or_none()


def _create_within_quota(engine: Engine, parameters: dict[str, Any], quota: int) -> Row[Any] | None:
    submitted_by = parameters["submitted_by"]
    queued = select(func.count()).where(Job.state == State.QUEUED, Job.submitted_by == submitted_by)
    with engine.begin() as connection:
        # Two that count at once would both find room for one.
        connection.execute(select(ApiKey.name).where(ApiKey.name == submitted_by).with_for_update())
        created = connection.execute(_CREATION, parameters).one_or_none()
        if created is not None and connection.execute(queued).scalar_one() > quota:
            raise QueueQuotaReached(submitted_by, quota)
        return created


def _same(job: Job, digest: str) -> Job:
    if job.request_digest != digest:
        raise IdempotencyConflict(job)
    return job


def _digest(request: dict[str, Any]) -> str:
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
