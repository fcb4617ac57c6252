"""Postgres has an index for every statement of the store, and reads pages of jobs in the order of one."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, combinations
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, text

from jobs import store
from jobs.api_keys import Scope
from jobs.database import connect
from jobs.states import State
from jobs.store import Cursor, Event, Lease, Position, Round, Ticket
from tests.conftest import PostgresServer
from tests.jobs.conftest import Desk

Plan = dict[str, Any]

PROBLEM = {"type": "/problems/none", "title": "None", "status": 500, "detail": "Nothing."}
FILTERS = {"state": State.CANCELLED, "model": "model 3", "method": "depth"}
COMBINATIONS = list(chain.from_iterable(combinations(FILTERS, size) for size in range(len(FILTERS) + 1)))

SEQUENTIAL = {
    ("list_keys", "api_keys"): "it lists all of them",
    ("count_jobs", "event_tallies"): "it reads all of them, a row for each kind and method",
    ("check_database", "alembic_version"): "there is one row",
}
"""Which function may read which table from one end to the other, and why."""

FILL = """
INSERT INTO jobs (id, state, progress, request, request_digest, model, method, ratio, dataset, submitted_by, attempt,
    max_attempts, created_at, started_at, finished_at, cancel_requested_at, error)
SELECT gen_random_uuid(), CASE WHEN i % 3 = 0 THEN 'failed' ELSE 'cancelled' END, 0, '{}', repeat('0', 64),
    'model ' || i % 5, (ARRAY['osscar', 'depth'])[1 + i % 2], 0.25, 'builtin', 'anonymous', 1, 3,
    moment, moment, moment, moment, CASE WHEN i % 3 = 0 THEN '{}'::jsonb END
FROM generate_series(1, 5000) AS i, LATERAL (SELECT now() - i * interval '1 minute' AS moment)
"""


def _list_every_combination(desk: Desk) -> None:
    after = Cursor(desk.submit().created_at, uuid4())
    for filters in COMBINATIONS:
        chosen: dict[str, Any] = {name: FILTERS[name] for name in filters}
        store.list_jobs(desk.engine, **chosen)
        store.list_jobs(desk.engine, **chosen, after=after)


def _offer(desk: Desk) -> tuple[Lease, Round, Ticket]:
    lease = desk.start(method="depth")
    offered = store.offer_round(desk.engine, lease, 1, [{"share": {"start": 0, "end": 1}}])
    ticket = Ticket(offered, 0)
    assert store.take_share(desk.engine, ticket, "worker-2") is not None
    return lease, offered, ticket


def _collect(desk: Desk) -> None:
    lease, offered, _ = _offer(desk)
    store.collect_round(desk.engine, lease, offered)


def _reconcile(desk: Desk) -> None:
    lost, overdue = desk.start(), desk.submit(deadline_seconds=3600)
    past = text("now() - interval '1 hour'")
    desk.alter(lost.job_id, lease_expires_at=past)
    desk.alter(overdue.id, created_at=text("now() - interval '2 hours'"), deadline_at=past)
    done = store.reconcile(desk.engine, wake_after_seconds=0)
    assert done.requeued
    assert done.failed
    assert done.to_wake


def _cancel_running(desk: Desk) -> None:
    lease = desk.start()
    store.request_cancel(desk.engine, lease.job_id)
    store.cancelled(desk.engine, lease)


def _miss_deadline(desk: Desk) -> None:
    store.miss_deadline(desk.engine, desk.start(deadline_seconds=3600))


def _make_key(desk: Desk) -> str:
    name = f"key-{uuid4().hex}"
    key = store.create_key(desk.engine, name, [Scope.READ], max_queued_jobs=9, requests_per_minute=9)
    assert store.use_key(desk.engine, key.secret) is not None
    return name


def _submit_with_keys(desk: Desk) -> None:
    name = _make_key(desk)
    request, key = {"model": "tiny"}, {"idempotency_key": "once", "submitted_by": name}
    for _ in range(2):
        desk.submit(request, max_queued_jobs=9, **key)
    assert store.find_submitted(desk.engine, request, **key) is not None


CALLS: dict[str, Callable[[Desk], object]] = {
    "cancelled": _cancel_running,
    "check_database": lambda desk: store.check_database(desk.engine),
    "claim": lambda desk: desk.start(),
    "close_round": lambda desk: store.close_round(desk.engine, _offer(desk)[1]),
    "collect_round": _collect,
    "count_jobs": lambda desk: store.count_jobs(desk.engine),
    "create_key": _make_key,
    "events": lambda desk: store.events(desk.engine, desk.submit().id, ["claimed"]),
    "fail": lambda desk: store.fail(desk.engine, desk.start(), PROBLEM),
    "find_all": lambda desk: store.find_all(desk.engine, [desk.submit().id, uuid4()]),
    "find_submitted": _submit_with_keys,
    "get": lambda desk: desk.job(desk.submit().id),
    "give_losses": lambda desk: store.give_losses(desk.engine, _offer(desk)[2], "worker-2", b"\0"),
    "hand_back": lambda desk: store.hand_back(desk.engine, desk.start(), "stopping"),
    "has_event": lambda desk: store.has_event(desk.engine, Position(desk.submit().id, 1)),
    "list_jobs": _list_every_combination,
    "list_keys": lambda desk: store.list_keys(desk.engine),
    "miss_deadline": _miss_deadline,
    "news": lambda desk: store.news(desk.engine, [Position(desk.start().job_id)], 10),
    "next_claimable": lambda desk: store.next_claimable(desk.engine),
    "offer_round": _offer,
    "ping": lambda desk: store.ping(desk.engine),
    "reconcile": _reconcile,
    "record": lambda desk: store.record(desk.engine, desk.start(), [Event("stage", {"stage": "pruning"})]),
    "renew": lambda desk: store.renew(desk.engine, desk.start(), 60),
    "request_cancel": lambda desk: store.request_cancel(desk.engine, desk.submit().id),
    "revoke_key": lambda desk: store.revoke_key(desk.engine, _make_key(desk)),
    "share_standings": lambda desk: store.share_standings(desk.engine, _offer(desk)[1]),
    "submit": _submit_with_keys,
    "succeed": lambda desk: desk.succeed(desk.start()),
    "take_share": _offer,
    "use_key": _make_key,
    "wants_share": lambda desk: store.wants_share(desk.engine, _offer(desk)[2], "worker-2"),
}


@pytest.fixture(scope="module")
def filled(server: PostgresServer, migrated: str) -> Iterator[Desk]:
    with server.database(migrated) as url:
        engine = connect(url)
        with engine.begin() as connection:
            connection.execute(text(FILL))
            connection.execute(text("ANALYZE"))
        yield Desk(engine)
        engine.dispose()


@contextmanager
def _recording(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    sent: list[tuple[str, Any]] = []

    def note(*call: Any) -> None:
        _connection, _cursor, statement, parameters, *_ = call
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def _plans(desk: Desk, call: Callable[[Desk], object]) -> list[Plan]:
    """What Postgres does for each statement of a call, if it takes any index rather than none."""
    with _recording(desk.engine) as sent:
        call(desk)
    assert sent
    with desk.engine.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        return [
            connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()[0][
                "Plan"
            ]
            for statement, parameters in sent
        ]


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def test_every_function_of_the_store_is_called_here() -> None:
    functions = {name for name in store.__all__ if inspect.isfunction(getattr(store, name))} - {"was_away"}
    assert CALLS.keys() == functions


@pytest.mark.parametrize("name", CALLS)
def test_no_statement_reads_a_table_from_one_end_to_the_other(name: str, filled: Desk) -> None:
    for plan in _plans(filled, CALLS[name]):
        scanned = {node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"}
        assert all((name, table) in SEQUENTIAL for table in scanned), plan


def test_a_page_is_read_in_the_order_of_an_index_and_one_of_combined_filters_reads_nothing_else(
    filled: Desk,
) -> None:
    plans = [plan for plan in _plans(filled, _list_every_combination) if plan["Node Type"] == "Limit"]
    asked = [filters for filters in COMBINATIONS for _ in ("first", "after")]
    for filters, plan in zip(asked, plans, strict=True):
        (scan,) = plan["Plans"]
        assert (scan["Node Type"], scan["Scan Direction"]) == ("Index Scan", "Backward"), plan
        # Of a single value that is common, Postgres rather skips the others.
        assert len(filters) == 1 or "Filter" not in scan, plan
