"""Follow a job."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.authentication import READ
from api.dependencies import Database, Feed, JobId
from api.event_feed import Subscription
from api.problems import InvalidRequestError, JobNotFoundError, responses
from jobs import store
from jobs.problem import field_error
from jobs.store import Position

LAST_EVENT_ID = "Last-Event-ID"
_LARGEST_ID = 2**63 - 1

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[READ])


def _position(
    job_id: JobId,
    database: Database,
    last_event_id: Annotated[int | None, Header(alias=LAST_EVENT_ID, ge=1, le=_LARGEST_ID)] = None,
) -> Position:
    """Find where the stream begins, before it does: a stream cannot say that it is refused."""
    if store.get(database, job_id) is None:
        raise JobNotFoundError(job_id)
    if last_event_id is None:
        return Position(job_id)
    position = Position(job_id, last_event_id)
    if not store.has_event(database, position):
        reason, remedy = "this job has no such event.", "Use the id of one, or leave it out to see them all."
        raise InvalidRequestError(
            f"{LAST_EVENT_ID}: {reason} {remedy}", [field_error(LAST_EVENT_ID, last_event_id, reason, remedy)]
        )
    return position


async def _subscription(
    position: Annotated[Position, Depends(_position)], feed: Feed
) -> AsyncIterator[Subscription]:
    with feed.subscribe(position) as subscription:
        yield subscription


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses=responses(JobNotFoundError, InvalidRequestError),
)
async def follow_job(
    subscription: Annotated[Subscription, Depends(_subscription)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job by server-sent events until it ends.

    Each of its events comes once, in order, under its kind; `Last-Event-ID` goes on behind the event of that id. `job`,
    which has no id, tells how the job stands whenever that has changed, and `end` that nothing will follow.
    """
    async for event in subscription:
        yield event
