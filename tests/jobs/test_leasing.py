from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import func

from jobs import store
from jobs.states import Stage, State
from jobs.store import Event, Lease, LeaseLost

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk


def test_a_claim_starts_the_job(desk: "Desk") -> None:
    job = desk.submit({"model": "tiny", "seed": 7})
    lease = store.claim(desk.engine, job.id, "worker-1", 60)
    assert lease is not None
    assert (lease.job_id, lease.attempt, lease.request) == (job.id, 1, {"model": "tiny", "seed": 7})
    job = desk.job(job.id)
    assert (job.state, job.stage, job.worker, job.attempt) == (State.RUNNING, Stage.LOADING, "worker-1", 1)
    assert job.lease_token == lease.token
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert timedelta(seconds=59) < job.lease_expires_at - job.started_at < timedelta(seconds=61)
    (event,) = store.events(desk.engine, job.id)
    assert (event.kind, event.attempt, event.data) == ("claimed", 1, {"worker": "worker-1"})


def test_of_eight_claims_at_once_one_wins(desk: "Desk") -> None:
    barrier = Barrier(8)
    job = desk.submit()

    def claim(number: int) -> Lease | None:
        barrier.wait()
        return store.claim(desk.engine, job.id, f"worker-{number}", 60)

    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(claim, range(8)))
    (winner,) = [lease for lease in leases if lease is not None]
    assert desk.job(job.id).lease_token == winner.token
    assert desk.job(job.id).attempt == 1
    assert desk.kinds(job.id) == ["claimed"]


def test_only_a_queued_and_available_job_is_claimed(desk: "Desk") -> None:
    finished, backing_off = desk.start(), desk.submit()
    desk.succeed(finished)
    desk.alter(backing_off.id, available_at=func.now() + timedelta(seconds=30))
    before = desk.snapshot()
    for job_id in (uuid4(), finished.job_id, backing_off.id):
        assert store.claim(desk.engine, job_id, "worker-2", 60) is None
    assert desk.snapshot() == before


def test_the_next_is_the_oldest_that_can_be_claimed(desk: "Desk") -> None:
    assert store.next_claimable(desk.engine) is None
    desk.start()
    backing_off, oldest, _young = desk.submit(), desk.submit(), desk.submit()
    desk.alter(backing_off.id, available_at=func.now() + timedelta(seconds=30))
    assert store.next_claimable(desk.engine) == oldest.id


def test_renewing_moves_the_expiry_and_tells_of_a_cancel(desk: "Desk") -> None:
    lease = desk.start()
    first = desk.job(lease.job_id).lease_expires_at
    assert first is not None
    assert not store.renew(desk.engine, lease, 600).cancel_requested
    renewed = desk.job(lease.job_id).lease_expires_at
    assert renewed is not None
    assert renewed - first > timedelta(seconds=500)
    store.request_cancel(desk.engine, lease.job_id)
    assert store.renew(desk.engine, lease, 60).cancel_requested


def test_a_late_renewal_counts_while_nobody_took_the_job(desk: "Desk") -> None:
    lease = desk.start()
    desk.alter(lease.job_id, lease_expires_at=func.now() - timedelta(seconds=1))
    store.renew(desk.engine, lease, 60)
    assert store.reconcile(desk.engine).requeued == []


def test_a_job_handed_back_has_not_lost_an_attempt(desk: "Desk") -> None:
    job = desk.submit(max_attempts=1)
    started_at = None
    for _ in range(3):
        lease = desk.claim(job.id)
        assert lease.attempt == 1
        store.record(desk.engine, lease, [Event("progress", {"fraction": 0.5, "eta_seconds": 9})])
        handed_back = store.hand_back(desk.engine, lease, "SIGTERM")
        assert (handed_back.state, handed_back.attempt, handed_back.progress) == (State.QUEUED, 0, 0)
        assert started_at in {None, handed_back.started_at}
        started_at = handed_back.started_at
    assert desk.kinds(job.id) == ["claimed", "handed_back"] * 3
    assert store.events(desk.engine, job.id, kinds={"handed_back"})[0].data == {"reason": "SIGTERM"}


def test_a_job_handed_back_after_a_cancel_is_cancelled(desk: "Desk") -> None:
    lease = desk.start()
    store.request_cancel(desk.engine, lease.job_id)
    assert store.hand_back(desk.engine, lease, "SIGTERM").state == State.CANCELLED
    assert desk.kinds(lease.job_id) == ["claimed", "cancel_requested", "handed_back", "cancelled"]


def _taken_over(desk: "Desk", lease: Lease) -> None:
    desk.alter(lease.job_id, lease_expires_at=func.now() - timedelta(seconds=1))
    store.reconcile(desk.engine)
    desk.alter(lease.job_id, available_at=func.now())
    desk.claim(lease.job_id)


def _requeued(desk: "Desk", lease: Lease) -> None:
    store.hand_back(desk.engine, lease, "SIGTERM")


def _finished(desk: "Desk", lease: Lease) -> None:
    desk.succeed(lease)


@pytest.mark.parametrize("lose", [_taken_over, _requeued, _finished])
@pytest.mark.parametrize(
    "write",
    [
        lambda desk, lease: store.renew(desk.engine, lease, 60),
        lambda desk, lease: store.hand_back(desk.engine, lease, "SIGTERM"),
        lambda desk, lease: store.record(desk.engine, lease, [Event("stage", {"stage": "pruning"})]),
        lambda desk, lease: store.record(desk.engine, lease, [Event("layer", {"layer": 1})]),
        lambda desk, lease: store.record(
            desk.engine, lease, [Event("progress", {"fraction": 1, "eta_seconds": 1})]
        ),
        lambda desk, lease: desk.succeed(lease),
        lambda desk, lease: store.fail(desk.engine, lease, {"title": "no"}),
        lambda desk, lease: store.cancelled(desk.engine, lease),
    ],
    ids=["renew", "hand_back", "stage", "layer", "progress", "succeed", "fail", "cancelled"],
)
def test_a_stale_lease_writes_nothing(
    lose: Callable[["Desk", Lease], None], write: Callable[["Desk", Lease], object], desk: "Desk"
) -> None:
    lease = desk.start()
    lose(desk, lease)
    before = desk.snapshot()
    with pytest.raises(LeaseLost):
        write(desk, lease)
    assert desk.snapshot() == before


def test_the_token_is_what_fences_not_the_worker_or_the_attempt(desk: "Desk") -> None:
    lease = desk.start()
    with pytest.raises(LeaseLost):
        store.renew(desk.engine, replace(lease, token=uuid4()), 60)
