"""Everything that is new of many jobs, in one look."""

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.orm.exc import DetachedInstanceError

from jobs import store
from jobs.states import State
from jobs.store import Event, News, Position

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk


def _layers(*numbers: int) -> list[Event]:
    return [Event("layer", {"layer": number}) for number in numbers]


def _told(news: News) -> list[object]:
    return [each.data.get("layer", each.kind) for each in news.events]


def test_each_position_is_read_on_from_by_itself(desk: "Desk") -> None:
    one, two, idle = desk.start(), desk.start(), desk.submit()
    store.record(desk.engine, one, _layers(0, 1))
    store.record(desk.engine, two, _layers(7))
    store.record(desk.engine, one, _layers(2))
    second = store.events(desk.engine, one.job_id)[1].id
    places = {
        Position(one.job_id): ["claimed", 0, 1, 2],
        Position(one.job_id, second): [1, 2],
        Position(two.job_id): ["claimed", 7],
        Position(two.job_id, 2**63 - 1): [],
        Position(idle.id): [],
    }
    found = store.news(desk.engine, [*places, Position(uuid4())], limit=10)
    assert {position: _told(news) for position, news in found.items()} == places
    assert found[Position(one.job_id)].job.state == State.RUNNING
    assert found[Position(idle.id)].job.state == State.QUEUED


def test_the_limit_is_each_positions_own(desk: "Desk") -> None:
    one, two = desk.start(), desk.start()
    for lease in (one, two):
        store.record(desk.engine, lease, _layers(0, 1, 2))
    found = store.news(desk.engine, {Position(one.job_id), Position(two.job_id)}, limit=2)
    assert [_told(news) for news in found.values()] == [["claimed", 0]] * 2


def test_the_job_and_its_events_are_of_one_moment_because_there_is_one_statement(desk: "Desk") -> None:
    lease = desk.start()
    statements: list[str] = []
    event.listen(desk.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    (news,) = store.news(desk.engine, {Position(lease.job_id)}, limit=10).values()
    assert len(statements) == 1
    with pytest.raises(DetachedInstanceError):
        # Texts of requests would be read over and over.
        _ = news.job.request


def test_an_event_is_its_own_jobs(desk: "Desk") -> None:
    lease, other = desk.start(), desk.start()
    (claimed,) = store.events(desk.engine, lease.job_id)
    assert store.has_event(desk.engine, Position(lease.job_id, claimed.id))
    assert not store.has_event(desk.engine, Position(other.job_id, claimed.id))
    assert not store.has_event(desk.engine, Position(lease.job_id, 2**63 - 1))
