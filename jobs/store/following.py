"""What happened to jobs since somebody last looked, asked for everybody at once."""

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine, exists, func, literal, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased, load_only

from jobs.database import statement
from jobs.models import Job, JobEvent


@dataclass(frozen=True, slots=True)
class Position:
    """Up to which of a job's events somebody has read; 0 is before the first."""

    job_id: UUID
    event_id: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """The events behind a position, oldest first, and the job as it stood when these were all there were.

    Of the job only what changes while it is worked on is loaded.
    """

    job: Job
    events: list[JobEvent] = field(default_factory=list)


def news(engine: Engine, positions: Collection[Position], limit: int) -> dict[Position, News]:
    """Read on from each position, by at most `limit` events; a job that is not there is left out.

    One statement sees one moment: who reads of fewer events than `limit` and of a job that ended has read its last.
    """
    job_ids = literal([position.job_id for position in positions], ARRAY(Job.id.type))
    event_ids = literal([position.event_id for position in positions], ARRAY(JobEvent.id.type))
    place = func.unnest(job_ids, event_ids).table_valued("job_id", "event_id").render_derived("place")
    behind = (
        select(JobEvent)
        .where(JobEvent.job_id == place.c.job_id, JobEvent.id > place.c.event_id)
        .order_by(JobEvent.id)
        .limit(limit)
        .lateral()
    )
    event = aliased(JobEvent, behind)
    changing = load_only(
        *(Job.state, Job.stage, Job.progress, Job.eta_seconds, Job.attempt),
        *(Job.cancel_requested_at, Job.started_at, Job.finished_at),
    )
    query = (
        select(place.c.event_id, Job, event)
        .join_from(place, Job, Job.id == place.c.job_id)
        .outerjoin(event, true())
        .order_by(event.id)
        .options(changing)
    )
    found: dict[Position, News] = {}
    with statement(engine) as session:
        for event_id, job, each in session.execute(query):
            told = found.setdefault(Position(job.id, event_id), News(job))
            if each is not None:
                told.events.append(each)
    return found


def has_event(engine: Engine, position: Position) -> bool:
    """Tell whether the position is that of an event of its job."""
    query = select(exists().where(JobEvent.job_id == position.job_id, JobEvent.id == position.event_id))
    with statement(engine) as session:
        return bool(session.scalar(query))
