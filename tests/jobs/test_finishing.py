from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from jobs import store
from jobs.states import State
from jobs.store import Event

if TYPE_CHECKING:
    from jobs.models import Job
    from tests.jobs.conftest import Desk


def _let_go(job: "Job") -> bool:
    held = (job.stage, job.eta_seconds, job.lease_token, job.lease_expires_at, job.worker)
    return held == (None,) * 5 and job.finished_at is not None


def test_success_stores_the_result(desk: "Desk") -> None:
    lease = desk.start()
    desk.succeed(lease, perplexity_after=25.5)
    job = desk.job(lease.job_id)
    assert (job.state, job.progress, job.error) == (State.SUCCEEDED, 1, None)
    assert _let_go(job)
    assert (job.perplexity_before, job.perplexity_after) == (20.0, 25.5)
    assert (job.parameters_before, job.parameters_after, job.dtype) == (1000, 900, "float32")
    assert job.cut == {"layers_before": 4, "layers_after": 3}
    assert job.artifact == {"name": "pruned/tiny"}
    assert desk.kinds(job.id) == ["claimed", "succeeded"]


@pytest.mark.parametrize("changes", [{"perplexity_after": float("nan")}, {"parameters_after": 1001}])
def test_what_is_no_result_leaves_the_job_running(changes: dict[str, float], desk: "Desk") -> None:
    lease = desk.start()
    before = desk.snapshot()
    with pytest.raises(IntegrityError):
        desk.succeed(lease, **changes)
    assert desk.snapshot() == before


def test_failure_stores_why_and_how_far_it_came(desk: "Desk") -> None:
    lease = desk.start()
    store.record(desk.engine, lease, [Event("progress", {"fraction": 0.6, "eta_seconds": 50})])
    store.fail(desk.engine, lease, {"title": "Out of memory", "detail": "a\x00b", "loss": float("nan")})
    job = desk.job(lease.job_id)
    assert (job.state, job.progress) == (State.FAILED, 0.6)
    assert _let_go(job)
    assert job.error == {"title": "Out of memory", "detail": "a\ufffdb", "loss": None}
    assert job.artifact is None
    event = store.events(desk.engine, job.id)[-1]
    assert (event.kind, event.data) == ("failed", {"error": job.error})


def test_a_requested_cancel_is_completed(desk: "Desk") -> None:
    lease = desk.start()
    store.request_cancel(desk.engine, lease.job_id)
    store.cancelled(desk.engine, lease)
    job = desk.job(lease.job_id)
    assert job.state == State.CANCELLED
    assert _let_go(job)
    assert desk.kinds(job.id) == ["claimed", "cancel_requested", "cancelled"]


def test_a_cancel_that_nobody_requested_is_refused(desk: "Desk") -> None:
    lease = desk.start()
    before = desk.snapshot()
    with pytest.raises(IntegrityError, match="cancel_was_requested"):
        store.cancelled(desk.engine, lease)
    assert desk.snapshot() == before


def test_a_cancel_that_came_too_late_is_overtaken(desk: "Desk") -> None:
    lease = desk.start()
    store.request_cancel(desk.engine, lease.job_id)
    assert desk.succeed(lease).state == State.SUCCEEDED
