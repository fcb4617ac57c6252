"""What brings a job on when its worker or its wake-up was lost."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine, extract, func, select, update
from sqlalchemy.orm import Session

from jobs.database import transaction
from jobs.models import Job
from jobs.states import State
from jobs.store import journal
from jobs.store.transitions import cancel, fail, is_overdue, miss_deadline, requeue

RECONCILER_LOCK = 0x5EC4_7E02
_FIRST_DELAY = timedelta(seconds=5)
_LONGEST_DELAY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Jobs to publish a wake-up for, oldest first, and what became of those that were lost or are overdue."""

    to_wake: list[UUID]
    requeued: list[UUID]
    failed: list[UUID]
    cancelled: list[UUID]


def reconcile(engine: Engine, *, wake_after_seconds: float = 30, limit: int = 100) -> Reconciliation:
    """Move running jobs with an expired lease and queued ones past their deadline on, then pick jobs to wake up for.

    A job whose lease expired goes to cancelled if that was requested, to queued with a growing delay if it has
    attempts and time left, and to failed otherwise. Picked jobs stay queued and are marked as woken. Nothing
    happens while another reconciler is at it.

    Args:
        engine: The database.
        wake_after_seconds: How long a queued job is left alone after its last wake-up, or a quarter of the time that
            it could have been claimed, if that is longer: behind a long queue, wake-ups would pile up in the broker.
        limit: The most jobs to move on, and to wake, in one go.
    """
    done = Reconciliation([], [], [], [])
    with transaction(engine) as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock(RECONCILER_LOCK))):
            return done
        for job in _pick_lost(session, limit):
            journal.append(session, job, "lease_expired", {"worker": job.worker})
            if job.cancel_requested_at is not None:
                done.cancelled.append(cancel(session, job).id)
            elif is_overdue(session, job):
                done.failed.append(miss_deadline(session, job).id)
            elif job.attempt < job.max_attempts:
                done.requeued.append(_try_again(session, job).id)
            else:
                done.failed.append(_give_up(session, job).id)
        done.failed.extend(miss_deadline(session, job).id for job in _pick_overdue(session, limit))
        done.to_wake.extend(_wake(session, wake_after_seconds, limit))
    return done


def _pick_lost(session: Session, limit: int) -> list[Job]:
    expired = (
        select(Job)
        .where(Job.state == State.RUNNING, Job.lease_expires_at < func.now())
        .order_by(Job.lease_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(expired))


def _pick_overdue(session: Session, limit: int) -> list[Job]:
    overdue = (
        select(Job)
        .where(Job.state == State.QUEUED, Job.deadline_at <= func.now())
        .order_by(Job.deadline_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(overdue))


def _try_again(session: Session, job: Job) -> Job:
    delay = min(_FIRST_DELAY * 2 ** (job.attempt - 1), _LONGEST_DELAY)
    return requeue(session, job, attempt=job.attempt, delay=delay)


def _give_up(session: Session, job: Job) -> Job:
    error = {
        "type": "/problems/worker-lost",
        "title": "The worker was lost",
        "status": 500,
        "detail": f"The worker stopped answering in attempt {job.attempt} of {job.max_attempts}; no more are made.",
    }
    return fail(session, job, error)


def _wake(session: Session, interval_seconds: float, limit: int) -> list[UUID]:
    # Whoever queues a job publishes its first wake-up at once.
    silent = extract("epoch", func.now() - func.coalesce(Job.woken_at, Job.created_at))
    waited = extract("epoch", func.now() - Job.available_at)
    overdue = (
        select(Job.id)
        .where(
            Job.state == State.QUEUED,
            Job.available_at <= func.now(),
            silent > func.greatest(interval_seconds, waited / 4),
        )
        .order_by(Job.created_at, Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    job_ids = list(session.scalars(overdue))
    session.execute(update(Job).where(Job.id.in_(job_ids)).values(woken_at=func.clock_timestamp()))
    return job_ids
