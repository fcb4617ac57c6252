"""Each constraint refuses the row it was made for, whatever the store's code does."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, func, insert, text
from sqlalchemy.exc import IntegrityError

from jobs.models import Base, Job, JobEvent, JobShare

NOW = func.clock_timestamp()
QUEUED: dict[str, Any] = {
    "state": "queued",
    "progress": 0.0,
    "request": {},
    "request_digest": "0" * 64,
    "model": "tiny",
    "method": "osscar",
    "ratio": 0.25,
    "dataset": "builtin",
    "submitted_by": "anonymous",
    "attempt": 0,
    "max_attempts": 3,
}
BEGUN = QUEUED | {"attempt": 1, "started_at": NOW}
RUNNING = BEGUN | {
    "state": "running",
    "stage": "loading",
    "lease_token": uuid4(),
    "lease_expires_at": NOW,
    "worker": "worker-1",
}
RESULT = {
    "dtype": "float32",
    "perplexity_before": 20.0,
    "perplexity_after": 25.0,
    "parameters_before": 1000,
    "parameters_after": 900,
    "cut": {},
    "artifact": {},
}
SUCCEEDED = BEGUN | RESULT | {"state": "succeeded", "progress": 1.0, "finished_at": NOW}
FAILED = BEGUN | {"state": "failed", "finished_at": NOW, "error": {}}
CANCELLED = QUEUED | {"state": "cancelled", "cancel_requested_at": NOW, "finished_at": NOW}

LEGAL = {
    "queued": QUEUED,
    "queued after a lost worker": BEGUN,
    "running": RUNNING,
    "running, to be cancelled": RUNNING | {"cancel_requested_at": NOW, "eta_seconds": 0, "progress": 0.5},
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "cancelled while running": CANCELLED | {"attempt": 1, "started_at": NOW, "progress": 0.5},
}
NAN = float("nan")
INFINITY = float("inf")
ILLEGAL = [
    ("state", BEGUN, {"state": "paused"}),
    ("stage", RUNNING, {"stage": "dreaming"}),
    ("lease_iff_running", RUNNING, {"lease_token": None}),
    ("lease_iff_running", RUNNING, {"lease_expires_at": None}),
    ("lease_iff_running", RUNNING, {"worker": None}),
    ("lease_iff_running", RUNNING, {"stage": None}),
    ("lease_iff_running", QUEUED, {"stage": "loading"}),
    ("lease_iff_running", SUCCEEDED, {"lease_token": uuid4()}),
    ("lease_iff_running", FAILED, {"lease_expires_at": NOW}),
    ("lease_iff_running", CANCELLED, {"worker": "worker-1"}),
    ("eta_only_while_running", QUEUED, {"eta_seconds": 1}),
    ("eta_only_while_running", RUNNING, {"eta_seconds": -1}),
    ("queued_is_claimable", BEGUN, {"attempt": 3}),
    ("queued_is_claimable", QUEUED, {"progress": 0.1}),
    ("queued_is_claimable", QUEUED, {"cancel_requested_at": NOW}),
    ("begun_was_claimed", RUNNING, {"attempt": 0}),
    ("begun_was_claimed", SUCCEEDED, {"attempt": 0}),
    ("begun_was_claimed", FAILED, {"attempt": 0}),
    ("deadline_at", QUEUED, {"deadline_at": datetime(2000, 1, 1, tzinfo=UTC)}),
    ("claimed_has_started", RUNNING, {"started_at": None}),
    ("finished_iff_terminal", QUEUED, {"finished_at": NOW}),
    ("finished_iff_terminal", RUNNING, {"finished_at": NOW}),
    ("finished_iff_terminal", SUCCEEDED, {"finished_at": None}),
    ("finished_iff_terminal", FAILED, {"finished_at": None}),
    ("finished_iff_terminal", CANCELLED, {"finished_at": None}),
    *(("succeeded_is_complete", SUCCEEDED, {column: None}) for column in RESULT),
    ("succeeded_is_complete", SUCCEEDED, {"progress": 0.99}),
    ("result_only_if_succeeded", RUNNING, {"artifact": {}}),
    ("result_only_if_succeeded", FAILED, {"cut": {}}),
    ("result_only_if_succeeded", CANCELLED, {"perplexity_after": 25.0}),
    ("result_only_if_succeeded", QUEUED, {"parameters_after": 900}),
    ("error_iff_failed", FAILED, {"error": None}),
    ("error_iff_failed", SUCCEEDED, {"error": {}}),
    ("error_iff_failed", QUEUED, {"error": {}}),
    ("cancel_was_requested", CANCELLED, {"cancel_requested_at": None}),
    ("progress", RUNNING, {"progress": -0.1}),
    ("progress", RUNNING, {"progress": 1.1}),
    ("progress", RUNNING, {"progress": NAN}),
    ("attempt", QUEUED, {"attempt": -1, "started_at": NOW}),
    ("attempt", RUNNING, {"attempt": 4}),
    ("attempt", CANCELLED, {"max_attempts": 0}),
    ("method", QUEUED, {"method": "magic"}),
    ("ratio", QUEUED, {"ratio": 0.0}),
    ("ratio", QUEUED, {"ratio": 1.0}),
    ("ratio", QUEUED, {"ratio": NAN}),
    *(
        (column, SUCCEEDED, {column: value})
        for column in ("perplexity_before", "perplexity_after")
        for value in (0.0, INFINITY, NAN)
    ),
    ("parameters_before", RUNNING, {"parameters_before": 0}),
    ("parameters_after", SUCCEEDED, {"parameters_after": 0}),
    ("parameters_after", SUCCEEDED, {"parameters_after": 1001}),
    ("request", QUEUED, {"request": []}),
    ("cut", SUCCEEDED, {"cut": []}),
    ("artifact", SUCCEEDED, {"artifact": []}),
    ("error", FAILED, {"error": []}),
    ("request_digest", QUEUED, {"request_digest": "0" * 63}),
    ("model", QUEUED, {"model": ""}),
    ("model", QUEUED, {"model": "ü" * 513}),
    ("idempotency_key", QUEUED, {"idempotency_key": ""}),
    ("idempotency_key", QUEUED, {"idempotency_key": "k" * 256}),
    ("submitted_by", QUEUED, {"submitted_by": ""}),
    ("submitted_by", QUEUED, {"submitted_by": "k" * 256}),
]
ILLEGAL_EVENTS = [("attempt", {"attempt": -1}), ("kind", {"kind": ""}), ("data", {"data": []})]
ILLEGAL_SHARES: list[tuple[str, dict[str, Any]]] = [
    ("numbers", {"round": -1}),
    ("numbers", {"share": -1}),
    ("work", {"work": []}),
    ("losses", {"losses": b"nobody's", "open": False}),
    ("losses", {"losses": b"still to come", "worker": "w"}),
]


def _insert(connection: Connection, model: type[Base], row: dict[str, Any]) -> None:
    connection.execute(insert(model).values(row))


def _violation(connection: Connection, model: type[Base], row: dict[str, Any]) -> str | None:
    with pytest.raises(IntegrityError) as caught:
        _insert(connection, model, row)
    assert isinstance(caught.value.orig, psycopg.errors.IntegrityError)
    return caught.value.orig.diag.constraint_name


@pytest.mark.parametrize("row", LEGAL.values(), ids=LEGAL.keys())
def test_a_legal_row_is_taken(row: dict[str, Any], connection: Connection) -> None:
    _insert(connection, Job, row)


@pytest.mark.parametrize(("name", "row", "changes"), ILLEGAL)
def test_an_illegal_job_is_refused(
    name: str, row: dict[str, Any], changes: dict[str, Any], connection: Connection
) -> None:
    assert _violation(connection, Job, row | changes) == f"ck_jobs_{name}"


@pytest.mark.parametrize(("name", "changes"), ILLEGAL_EVENTS)
def test_an_illegal_event_is_refused(name: str, changes: dict[str, Any], connection: Connection) -> None:
    job_id = uuid4()
    event = {"job_id": job_id, "attempt": 0, "kind": "layer", "data": {}}
    _insert(connection, Job, QUEUED | {"id": job_id})
    _insert(connection, JobEvent, event)
    assert _violation(connection, JobEvent, event | changes) == f"ck_job_events_{name}"


@pytest.mark.parametrize(("name", "changes"), ILLEGAL_SHARES)
def test_an_illegal_share_is_refused(name: str, changes: dict[str, Any], connection: Connection) -> None:
    job_id = uuid4()
    share = {"job_id": job_id, "round": 0, "share": 0, "work": {}}
    _insert(connection, Job, QUEUED | {"id": job_id})
    assert _violation(connection, JobShare, share | changes) == f"ck_job_shares_{name}"


def test_an_event_belongs_to_a_job(connection: Connection) -> None:
    event = {"job_id": uuid4(), "attempt": 0, "kind": "layer", "data": {}}
    assert _violation(connection, JobEvent, event) == "fk_job_events_job_id"


def test_an_idempotency_key_is_used_once_by_each_submitter(connection: Connection) -> None:
    first = QUEUED | {"idempotency_key": "k"}
    _insert(connection, Job, first)
    _insert(connection, Job, first | {"submitted_by": "somebody else"})
    assert _violation(connection, Job, first) == "uq_jobs_idempotency_key"


def test_every_check_is_tried_above(connection: Connection) -> None:
    tried = {
        *(f"ck_jobs_{name}" for name, *_ in ILLEGAL),
        *(f"ck_job_events_{name}" for name, _ in ILLEGAL_EVENTS),
        *(f"ck_job_shares_{name}" for name, _ in ILLEGAL_SHARES),
    }
    checks = text(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid::regclass::text ~ '^job'"
    )
    assert set(connection.scalars(checks)) == tried
