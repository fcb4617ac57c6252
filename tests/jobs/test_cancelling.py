from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from jobs import store
from jobs.states import State
from jobs.store import AlreadyFinished

if TYPE_CHECKING:
    from jobs.models import Job
    from jobs.store import Lease
    from tests.jobs.conftest import Desk


def test_a_queued_job_is_cancelled_at_once(desk: "Desk") -> None:
    job = store.request_cancel(desk.engine, desk.submit().id)
    assert job is not None
    assert job.state == State.CANCELLED
    assert job.finished_at is not None
    assert desk.kinds(job.id) == ["cancelled"]
    assert store.claim(desk.engine, job.id, "worker-1", 60) is None


def test_a_running_job_is_asked_once(desk: "Desk") -> None:
    lease = desk.start()
    first = store.request_cancel(desk.engine, lease.job_id)
    again = store.request_cancel(desk.engine, lease.job_id)
    assert first is not None
    assert again is not None
    assert first.state == State.RUNNING
    assert first.cancel_requested_at is not None
    assert first.cancel_requested_at == again.cancel_requested_at
    assert desk.kinds(lease.job_id) == ["claimed", "cancel_requested"]


def test_an_unknown_job_is_none(desk: "Desk") -> None:
    assert store.request_cancel(desk.engine, uuid4()) is None


def test_a_finished_job_is_not_cancelled(desk: "Desk") -> None:
    lease = desk.start()
    desk.succeed(lease)
    before = desk.snapshot()
    with pytest.raises(AlreadyFinished) as caught:
        store.request_cancel(desk.engine, lease.job_id)
    assert caught.value.job.state == State.SUCCEEDED
    assert desk.snapshot() == before


def test_a_cancel_and_a_claim_at_once_agree(desk: "Desk") -> None:
    for _ in range(10):
        job = desk.submit()
        barrier = Barrier(2)

        def cancel(job: "Job" = job, barrier: Barrier = barrier) -> "Job | None":
            barrier.wait()
            return store.request_cancel(desk.engine, job.id)

        def claim(job: "Job" = job, barrier: Barrier = barrier) -> "Lease | None":
            barrier.wait()
            return store.claim(desk.engine, job.id, "worker-1", 60)

        with ThreadPoolExecutor(2) as pool:
            cancelling, claiming = pool.submit(cancel), pool.submit(claim)
            lease = claiming.result()
            cancelling.result()
        after = desk.job(job.id)
        assert after.cancel_requested_at is not None
        assert after.state == (State.CANCELLED if lease is None else State.RUNNING)
