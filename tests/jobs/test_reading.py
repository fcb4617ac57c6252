import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from jobs import store
from jobs.states import State
from jobs.store import Cursor, Event, InvalidCursor

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk

MOMENT = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def _walk(desk: "Desk", limit: int, **filters: object) -> list[UUID]:
    """Follow the pages, through the text form of every cursor."""
    visited: list[UUID] = []
    after = None
    while True:
        page = store.list_jobs(desk.engine, limit=limit, after=after, **filters)
        visited += [job.id for job in page.jobs]
        if page.next is None:
            return visited
        assert len(page.jobs) == limit
        after = Cursor.decode(page.next.encode())


def test_an_unknown_job_is_none(desk: "Desk") -> None:
    assert store.get(desk.engine, uuid4()) is None


def test_the_newest_job_comes_first(desk: "Desk") -> None:
    submitted = [desk.submit().id for _ in range(3)]
    assert [job.id for job in store.list_jobs(desk.engine).jobs] == submitted[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_visit_each_job_once_though_all_are_of_one_moment(limit: int, desk: "Desk") -> None:
    submitted = [desk.submit().id for _ in range(7)]
    for job_id in submitted:
        desk.alter(job_id, created_at=MOMENT)
    assert _walk(desk, limit) == sorted(submitted, reverse=True)


def test_jobs_that_arrive_meanwhile_move_nothing(desk: "Desk") -> None:
    submitted = [desk.submit().id for _ in range(5)]
    visited: list[UUID] = []
    after = None
    while True:
        page = store.list_jobs(desk.engine, limit=2, after=after)
        visited += [job.id for job in page.jobs]
        if page.next is None:
            break
        after = page.next
        desk.submit()
    assert visited == submitted[::-1]


def test_a_full_last_page_has_no_next(desk: "Desk") -> None:
    for _ in range(2):
        desk.submit()
    assert store.list_jobs(desk.engine, limit=2).next is None


def test_filters_join(desk: "Desk") -> None:
    wanted = [desk.submit(model="a", method="depth").id for _ in range(3)]
    desk.submit(model="a", method="osscar")
    desk.submit(model="b", method="depth")
    desk.claim(desk.submit(model="a", method="depth").id)
    assert _walk(desk, 2, state=State.QUEUED, model="a", method="depth") == wanted[::-1]


def test_results_are_the_succeeded_jobs(desk: "Desk") -> None:
    desk.submit()
    lease = desk.start()
    desk.succeed(lease)
    assert [job.id for job in store.list_jobs(desk.engine, state=State.SUCCEEDED).jobs] == [lease.job_id]


def test_events_are_selected_by_job_kind_and_id(desk: "Desk") -> None:
    lease, other = desk.start(), desk.start()
    store.record(desk.engine, lease, [Event("layer", {"layer": n}) for n in range(3)])
    store.record(desk.engine, other, [Event("layer", {"layer": 9})])
    seen = store.events(desk.engine, lease.job_id)
    assert [event.kind for event in seen] == ["claimed", "layer", "layer", "layer"]
    assert [event.data.get("layer") for event in seen] == [None, 0, 1, 2]
    assert {event.attempt for event in seen} == {1}
    layers = store.events(desk.engine, lease.job_id, kinds={"layer"}, after_id=seen[1].id)
    assert [event.id for event in layers] == [seen[2].id, seen[3].id]
    assert store.events(desk.engine, lease.job_id, kinds=[]) == []


def test_a_cursor_survives_its_text_in_any_zone() -> None:
    cursor = Cursor(MOMENT, uuid4())
    assert Cursor.decode(cursor.encode()) == cursor
    abroad = Cursor(MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))), cursor.id)
    assert abroad.encode() == cursor.encode()


def _encoded(plain: str) -> str:
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


GOOD_ID = "6f1c6f0c-4a62-4b8e-9d0b-0d2f0a3d5c11"
GOOD_DATE = "2025-01-02T03:04:05.678901+00:00"


def test_the_good_parts_of_the_bad_cursors_are_good() -> None:
    assert Cursor.decode(_encoded(f"{GOOD_DATE} {GOOD_ID}")) == Cursor(MOMENT, UUID(GOOD_ID))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "not a cursor",
        "ключ",
        "\x00",
        "////",
        base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode(),
        _encoded("nothing"),
        _encoded(GOOD_DATE),
        _encoded(f"{GOOD_DATE} "),
        _encoded(f"{GOOD_DATE} not-a-uuid"),
        _encoded(f"{GOOD_DATE} {GOOD_ID.upper()}"),
        _encoded(f"{GOOD_DATE} {GOOD_ID.replace('-', '')}"),
        _encoded(f" {GOOD_ID}"),
        _encoded(f"yesterday {GOOD_ID}"),
        _encoded(f"2025-02-30T00:00:00+00:00 {GOOD_ID}"),
        _encoded(f"2025-01-02T03:04:05 {GOOD_ID}"),
        _encoded(f"2025-01-02T03:04:05+01:00 {GOOD_ID}"),
        _encoded(f"0001-01-01T00:00:00+14:00 {GOOD_ID}"),
        _encoded(f"{GOOD_DATE} {GOOD_ID} more"),
        _encoded(f"{GOOD_DATE} {GOOD_ID}") + "\n",
        _encoded(f"{GOOD_DATE} {GOOD_ID}") + "====",
    ],
)
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.decode(text)


def test_the_edges_of_time_are_fine_as_cursors(desk: "Desk") -> None:
    job = desk.submit()
    for year, found in [(1, []), (9999, [job.id])]:
        after = Cursor.decode(Cursor(datetime(year, 12, 31, tzinfo=UTC), uuid4()).encode())
        assert [job.id for job in store.list_jobs(desk.engine, after=after).jobs] == found
