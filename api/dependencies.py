"""What routes are given: the parts of the running service."""

from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Query, Request

from api.event_feed import EventFeed
from api.problems import InvalidRequestError
from jobs.database import Engine
from jobs.problem import field_error
from jobs.queue import WakeUps
from jobs.settings import Settings
from jobs.store import Cursor, InvalidCursor
from registry.catalog import Catalog


# None of these waits for anything. FastAPI sends those that are not async to a thread each.
async def _settings(request: Request) -> Settings:
    return cast("Settings", request.app.state.settings)


async def _engine(request: Request) -> Engine:
    return cast("Engine", request.app.state.engine)


async def _wake_ups(request: Request) -> WakeUps:
    return cast("WakeUps", request.app.state.wake_ups)


async def _feed(request: Request) -> EventFeed:
    return cast("EventFeed", request.app.state.feed)


async def _catalog(request: Request) -> Catalog:
    return cast("Catalog", request.app.state.catalog)


async def _cursor(cursor: Annotated[str | None, Query(max_length=200)] = None) -> Cursor | None:
    try:
        return Cursor.decode(cursor) if cursor is not None else None
    except InvalidCursor as error:
        reason, remedy = "this is not a cursor.", "Use the `next` of the page before, unchanged."
        raise InvalidRequestError(
            f"cursor: {reason} {remedy}", [field_error("cursor", cursor, reason, remedy)]
        ) from error


ServiceSettings = Annotated[Settings, Depends(_settings)]
Database = Annotated[Engine, Depends(_engine)]
Broker = Annotated[WakeUps, Depends(_wake_ups)]
PublishedCatalog = Annotated[Catalog, Depends(_catalog)]
Feed = Annotated[EventFeed, Depends(_feed)]
After = Annotated[Cursor | None, Depends(_cursor)]
Limit = Annotated[int, Query(ge=1, le=200)]
JobId = UUID
