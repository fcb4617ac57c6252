"""Reads what happens to the jobs that somebody follows, once for all who do."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import structlog
from fastapi.sse import ServerSentEvent

from api.event_stream import Page
from jobs import store
from jobs.database import Engine
from jobs.store import Position

POLL_SECONDS = 0.5
PAUSE_SECONDS = 0.05
"""Between two queries if there is more to read, or somebody new to read for."""
PAGE_SIZE = 100

log = structlog.get_logger()


class Subscription:
    """Somebody's place in the events of a job, and the page that they have not taken yet.

    It is read for only when that page has been taken. So who reads slowly, or not at all, costs a page, and goes on
    from the database.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self._page: list[ServerSentEvent] = []
        self._standing: ServerSentEvent | None = None
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def waits(self) -> bool:
        return not self._page and not self._ended

    def give(self, page: Page) -> None:
        self.position = page.last
        self._page = [*page.events]
        if page.standing is not None and page.standing != self._standing:
            self._standing = page.standing
            self._page.append(page.standing)
        if page.end is not None:
            self._page.append(page.end)
            self._ended = True
        if self._page:
            self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        while not self._ended or self._page:
            await self._changed.wait()
            self._changed.clear()
            page, self._page = self._page, []
            for event in page:
                yield event


class EventFeed:
    """The one reader of a process, which asks the database only while somebody follows a job."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._subscriptions: set[Subscription] = set()
        self._called = asyncio.Event()
        self._closed = False
        self._failed = False

    @contextmanager
    def subscribe(self, position: Position) -> Iterator[Subscription]:
        subscription = Subscription(position)
        if self._closed:
            subscription.end()
        self._subscriptions.add(subscription)
        self._called.set()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all subscriptions, and those that are still to come."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read as long as this is open."""
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read_on())
            yield
            reader.cancel()

    async def _read_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS if self._subscriptions else None):
                    await self._called.wait()
            self._called.clear()
            try:
                await self._serve()
            except Exception:
                # Nobody is told: streams stay open, and go on from their places once the database is back.
                if not self._failed:
                    log.exception("events cannot be read")
                self._failed = True
            else:
                self._failed = False
            await asyncio.sleep(PAUSE_SECONDS)

    async def _serve(self) -> None:
        waiting = [each for each in self._subscriptions if each.waits]
        if not waiting:
            return
        pages = await asyncio.to_thread(_read, self._database, {each.position for each in waiting})
        for each in waiting:
            page = pages.get(each.position)
            if page is None:
                # The job was deleted. A client that asks again is told so.
                each.end()
                continue
            each.give(page)
            if page.standing is None:
                self._called.set()


def _read(database: Engine, positions: Collection[Position]) -> dict[Position, Page]:
    found = store.news(database, positions, PAGE_SIZE)
    return {position: Page.of(position, news, size=PAGE_SIZE) for position, news in found.items()}
