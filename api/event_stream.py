"""What a stream of a job's events says: the events, how the job stands in between, and that it has ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel

from jobs.models import Job, JobEvent
from jobs.states import TERMINAL, Stage, State
from jobs.store import News, Position


class EventData(BaseModel):
    """The data of one of a job's events; its kind is the event's name, and its id the event's."""

    attempt: int
    at: datetime
    data: dict[str, Any]


class JobStanding(BaseModel):
    """The data of `job`: what changes of a job while it is worked on."""

    state: State
    stage: Stage | None
    progress: float
    eta_seconds: int | None
    attempt: int
    cancel_requested: bool
    started_at: datetime | None
    finished_at: datetime | None


class JobEnd(BaseModel):
    """The data of `end`, the last of a stream."""

    state: State


@dataclass(frozen=True, slots=True)
class Page:
    """What comes next in a stream, encoded once for everybody who has come as far.

    Attributes:
        events: the job's events behind a position, as many as a page holds.
        last: the position of the last of them.
        standing: how the job stands; None where more pages follow at once.
        end: None unless nothing will ever follow.
    """

    events: list[ServerSentEvent]
    last: Position
    standing: ServerSentEvent | None
    end: ServerSentEvent | None

    @classmethod
    def of(cls, position: Position, news: News, *, size: int) -> Self:
        job, events = news.job, news.events
        complete = len(events) < size
        return cls(
            events=[_of_event(event) for event in events],
            last=Position(job.id, events[-1].id) if events else position,
            standing=_of_job(job) if complete else None,
            end=_of_end(job) if complete and job.state in TERMINAL else None,
        )


def _of_event(event: JobEvent) -> ServerSentEvent:
    data = EventData(attempt=event.attempt, at=event.at, data=event.data)
    return ServerSentEvent(id=str(event.id), event=event.kind, raw_data=data.model_dump_json())


def _of_job(job: Job) -> ServerSentEvent:
    # Without an id: a client that reconnects names the last event it saw, whatever came after that.
    standing = JobStanding(
        state=job.state,
        stage=job.stage,
        progress=job.progress,
        eta_seconds=job.eta_seconds,
        attempt=job.attempt,
        cancel_requested=job.cancel_requested_at is not None,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
    return ServerSentEvent(event="job", raw_data=standing.model_dump_json())


def _of_end(job: Job) -> ServerSentEvent:
    return ServerSentEvent(event="end", raw_data=JobEnd(state=job.state).model_dump_json())
