"""One reader for everybody who follows a job."""

import asyncio
from contextlib import ExitStack
from typing import Any

from fastapi.sse import ServerSentEvent
from sqlalchemy import Engine, event

from api.event_feed import PAGE_SIZE, POLL_SECONDS, EventFeed, Subscription
from jobs import store
from jobs.store import Event, Lease, Position


def claimed(engine: Engine) -> Lease:
    labels: dict[str, Any] = {"model": "tiny", "method": "osscar", "ratio": 0.25, "dataset": "builtin"}
    job = store.submit(engine, {"model": "tiny"}, **labels).job
    lease = store.claim(engine, job.id, "worker-1", 60)
    assert lease is not None
    return lease


async def take(subscription: Subscription, last_id: int) -> list[ServerSentEvent]:
    """Read up to an event."""
    taken: list[ServerSentEvent] = []
    async for each in subscription:
        taken.append(each)
        if each.id == str(last_id):
            break
    return taken


def test_who_never_reads_costs_a_page_holds_up_nobody_and_misses_nothing(engine: Engine) -> None:
    lease = claimed(engine)

    async def scenario() -> list[ServerSentEvent]:
        feed = EventFeed(engine)
        position = Position(lease.job_id)
        async with feed.reading():
            with feed.subscribe(position) as slow, feed.subscribe(position) as quick:
                for _ in range(4):
                    layers = [Event("layer", {"layer": layer}) for layer in range(PAGE_SIZE)]
                    await asyncio.to_thread(store.record, engine, lease, layers)
                    await take(quick, store.events(engine, lease.job_id)[-1].id)
                    # With how the job stands.
                    assert len(slow._page) <= PAGE_SIZE + 1
                await asyncio.to_thread(store.fail, engine, lease, {"type": "/problems/broken-model"})
                return [each async for each in slow]

    received = asyncio.run(asyncio.wait_for(scenario(), 20))
    ids = [each.id for each in received if each.id is not None]
    assert ids == [str(row.id) for row in store.events(engine, lease.job_id)]
    assert [each.event for each in received[-2:]] == ["job", "end"]


def test_one_query_at_a_time_serves_all_and_none_is_made_for_nobody(engine: Engine) -> None:
    leases = [claimed(engine) for _ in range(5)]
    queries: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: queries.append(given[2]))

    async def scenario() -> None:
        feed = EventFeed(engine)
        async with feed.reading():
            await asyncio.sleep(0.1)
            assert queries == []
            with ExitStack() as stack:
                for number in range(100):
                    position = Position(leases[number % 5].job_id)
                    stack.enter_context(feed.subscribe(position))
                await asyncio.sleep(2 * POLL_SECONDS)
                assert 1 <= len(queries) <= 3
            queries.clear()
            await asyncio.sleep(2 * POLL_SECONDS)
            assert len(queries) <= 1

    asyncio.run(scenario())


def test_once_closed_it_ends_those_that_are_there_and_those_that_come(engine: Engine) -> None:
    lease = claimed(engine)

    async def scenario() -> tuple[list[str | None], list[ServerSentEvent]]:
        feed = EventFeed(engine)
        position = Position(lease.job_id)
        async with feed.reading():
            with feed.subscribe(position) as before:
                reading = asyncio.create_task(collect(before))
                while before.position == position:
                    await asyncio.sleep(0.01)
                feed.close()
                with feed.subscribe(position) as after:
                    return [each.event for each in await reading], await collect(after)

    async def collect(subscription: Subscription) -> list[ServerSentEvent]:
        return [each async for each in subscription]

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) == (["claimed", "job"], [])
