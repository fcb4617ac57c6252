"""running → succeeded | failed | cancelled, by the worker that holds the job."""

from typing import Any

from sqlalchemy import Engine, func

from jobs.database import transaction
from jobs.models import Job
from jobs.states import State
from jobs.store import journal, transitions
from jobs.store.fencing import Lease, hold


def succeed(
    engine: Engine,
    lease: Lease,
    *,
    perplexity_before: float,
    perplexity_after: float,
    parameters_before: int,
    parameters_after: int,
    cut: dict[str, Any],
    artifact: dict[str, Any],
    dtype: str,
) -> Job:
    """Move a job from running to succeeded, with its result. A cancel that came too late is overtaken.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
        sqlalchemy.exc.IntegrityError: This is no result, such as a perplexity of NaN; the job stays running.
    """
    with transaction(engine) as session:
        job = transitions.let_go(
            session,
            hold(session, lease),
            state=State.SUCCEEDED,
            progress=1.0,
            finished_at=func.clock_timestamp(),
            perplexity_before=perplexity_before,
            perplexity_after=perplexity_after,
            parameters_before=parameters_before,
            parameters_after=parameters_after,
            cut=cut,
            artifact=artifact,
            dtype=dtype,
        )
        journal.append(session, job, "succeeded", {})
        return job


def fail(engine: Engine, lease: Lease, error: dict[str, Any]) -> Job:
    """Move a job from running to failed, for the reason in the problem object `error`.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
    """
    with transaction(engine) as session:
        return transitions.fail(session, hold(session, lease), error)


def miss_deadline(engine: Engine, lease: Lease) -> Job:
    """Move a job whose deadline has passed from running to failed.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
    """
    with transaction(engine) as session:
        return transitions.miss_deadline(session, hold(session, lease))


def cancelled(engine: Engine, lease: Lease) -> Job:
    """Move a job whose cancel was requested from running to cancelled.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
        sqlalchemy.exc.IntegrityError: Nobody requested the cancel; the job stays running.
    """
    with transaction(engine) as session:
        return transitions.cancel(session, hold(session, lease))
