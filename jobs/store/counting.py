"""How many jobs there are, and how long they wait: what a scrape of the metrics asks."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, extract, func, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import transaction
from jobs.models import EventTally, Job
from jobs.states import TERMINAL, State


@dataclass(frozen=True, slots=True)
class Counts:
    """The service as its database knows it.

    Attributes:
        jobs: how many there are, by state and method.
        events: how many there were, by kind and method, of the kinds that are tallied.
        queue_age_seconds: for how long the job that waits longest could have been claimed; 0 if none could. Not since
            its creation: a job that was handed back ran in between.
        expired_leases: running jobs whose worker is silent, and that no reconciler has moved on yet.
    """

    jobs: Counter[tuple[State, str]]
    events: Counter[tuple[str, str]]
    queue_age_seconds: float
    expired_leases: int


def count_jobs(engine: Engine) -> Counts | None:
    """Count in a time that does not grow with the number of finished jobs; None if the database is away."""
    # One state a statement, so that Postgres can use the index of that state alone.
    claimable_since = func.min(Job.available_at).filter(Job.available_at <= func.now())
    queued = _in_state(State.QUEUED, extract("epoch", func.now() - claimable_since))
    running = _in_state(State.RUNNING, func.count().filter(Job.lease_expires_at < func.now()))
    try:
        with transaction(engine) as session:
            waiting = session.execute(queued).all()
            at_work = session.execute(running).all()
            tallies = session.scalars(select(EventTally)).all()
    except SQLAlchemyError:
        return None
    events = Counter({(tally.kind, tally.method): tally.events for tally in tallies})
    # A job ends once, with one event of its state's name.
    ended = {(State(kind), method): jobs for (kind, method), jobs in events.items() if kind in TERMINAL}
    return Counts(
        jobs=Counter(
            {
                **{(State.QUEUED, method): jobs for method, jobs, _ in waiting},
                **{(State.RUNNING, method): jobs for method, jobs, _ in at_work},
                **ended,
            }
        ),
        events=events,
        queue_age_seconds=max((float(age) for _, _, age in waiting if age is not None), default=0.0),
        expired_leases=sum(expired for _, _, expired in at_work),
    )


def _in_state(state: State, more: ColumnElement[Any]) -> Select[str, int, Any]:
    return select(Job.method, func.count(), more).where(Job.state == state).group_by(Job.method)
