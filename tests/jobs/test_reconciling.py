from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import func, select

from jobs import store
from jobs.models import Job
from jobs.states import State
from jobs.store import Event, Lease, Reconciliation
from jobs.store.reconciling import RECONCILER_LOCK

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk

NOTHING = Reconciliation([], [], [], [])


def _lose(desk: "Desk", lease: Lease) -> None:
    desk.alter(lease.job_id, lease_expires_at=func.now() - timedelta(seconds=1))


def _age(desk: "Desk", job_id: UUID, seconds: float) -> None:
    moment = func.now() - timedelta(seconds=seconds)
    desk.alter(job_id, created_at=moment, available_at=moment)


def test_a_job_whose_worker_was_lost_is_queued_again_later(desk: "Desk") -> None:
    lease = desk.start()
    store.record(desk.engine, lease, [Event("progress", {"fraction": 0.5, "eta_seconds": 9})])
    assert store.reconcile(desk.engine) == NOTHING
    _lose(desk, lease)
    assert store.reconcile(desk.engine).requeued == [lease.job_id]
    job = desk.job(lease.job_id)
    assert (job.state, job.attempt, job.progress, job.worker) == (State.QUEUED, 1, 0, None)
    event = store.events(desk.engine, job.id)[-1]
    assert (event.kind, event.attempt) == ("lease_expired", 1)
    assert event.data == {"worker": "worker-1"}
    assert store.claim(desk.engine, job.id, "worker-2", 60) is None
    desk.alter(job.id, available_at=func.now())
    assert desk.claim(job.id).attempt == 2


def test_the_delay_doubles_up_to_five_minutes(desk: "Desk") -> None:
    job = desk.submit(max_attempts=9)
    delays = []
    for _ in range(8):
        _lose(desk, desk.claim(job.id))
        store.reconcile(desk.engine)
        requeued = desk.job(job.id)
        event = store.events(desk.engine, job.id)[-1]
        delays.append(round((requeued.available_at - event.at).total_seconds()))
        desk.alter(job.id, available_at=func.now())
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_job_that_lost_its_last_worker_has_failed(desk: "Desk") -> None:
    lease = desk.start(max_attempts=1)
    _lose(desk, lease)
    assert store.reconcile(desk.engine).failed == [lease.job_id]
    job = desk.job(lease.job_id)
    assert job.state == State.FAILED
    assert job.error is not None
    assert (job.error["type"], job.error["status"]) == ("/problems/worker-lost", 500)
    assert "attempt 1 of 1" in job.error["detail"]
    assert desk.kinds(job.id) == ["claimed", "lease_expired", "failed"]


def test_a_lost_job_that_was_to_be_cancelled_is(desk: "Desk") -> None:
    lease = desk.start(max_attempts=1)
    store.request_cancel(desk.engine, lease.job_id)
    _lose(desk, lease)
    assert store.reconcile(desk.engine).cancelled == [lease.job_id]
    assert desk.job(lease.job_id).state == State.CANCELLED


def test_one_reconciler_works_at_a_time(desk: "Desk") -> None:
    lease, queued = desk.start(), desk.submit()
    _age(desk, queued.id, 60)
    _lose(desk, lease)
    before = desk.snapshot()
    with desk.engine.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(RECONCILER_LOCK)))
        assert store.reconcile(desk.engine) == NOTHING
        assert desk.snapshot() == before
    done = store.reconcile(desk.engine)
    assert (done.requeued, done.to_wake) == ([lease.job_id], [queued.id])


def test_a_job_that_somebody_is_writing_to_is_left_for_the_next_time(desk: "Desk") -> None:
    lost, queued = desk.start(), desk.submit()
    _age(desk, queued.id, 60)
    _lose(desk, lost)
    with desk.engine.begin() as other:
        other.execute(select(Job.id).with_for_update())
        assert store.reconcile(desk.engine) == NOTHING
    assert store.reconcile(desk.engine).requeued == [lost.job_id]


def test_old_queued_jobs_are_woken_oldest_first_once_per_interval(desk: "Desk") -> None:
    young, old, older = desk.submit(), desk.submit(), desk.submit()
    _age(desk, old.id, 60)
    _age(desk, older.id, 90)
    assert store.reconcile(desk.engine, wake_after_seconds=30).to_wake == [older.id, old.id]
    assert store.reconcile(desk.engine, wake_after_seconds=30).to_wake == []
    desk.alter(old.id, woken_at=func.now() - timedelta(seconds=31))
    assert store.reconcile(desk.engine, wake_after_seconds=30).to_wake == [old.id]
    assert desk.job(young.id).woken_at is None


def test_the_longer_a_job_waits_the_less_often_it_is_woken(desk: "Desk") -> None:
    job = desk.submit()
    _age(desk, job.id, 400)
    desk.alter(job.id, woken_at=func.now() - timedelta(seconds=99))
    assert store.reconcile(desk.engine, wake_after_seconds=30).to_wake == []
    desk.alter(job.id, woken_at=func.now() - timedelta(seconds=101))
    assert store.reconcile(desk.engine, wake_after_seconds=30).to_wake == [job.id]


def test_only_jobs_that_can_be_claimed_are_woken(desk: "Desk") -> None:
    backing_off, running, finished = desk.submit(), desk.start(), desk.start()
    desk.succeed(finished)
    for job_id in (backing_off.id, running.job_id):
        _age(desk, job_id, 60)
    desk.alter(backing_off.id, available_at=func.now() + timedelta(seconds=30))
    assert store.reconcile(desk.engine) == NOTHING


def test_the_limit_takes_the_oldest(desk: "Desk") -> None:
    queued = [desk.submit().id for _ in range(3)]
    lost = [desk.start() for _ in range(3)]
    for age, job_id in enumerate(queued):
        _age(desk, job_id, 60 - age)
    for lease in lost:
        _lose(desk, lease)
    first, second = (store.reconcile(desk.engine, limit=2) for _ in range(2))
    assert first.to_wake == queued[:2]
    assert first.requeued == [lease.job_id for lease in lost[:2]]
    assert second.to_wake == queued[2:]
    assert second.requeued == [lost[2].job_id]


def _pass_deadline(desk: "Desk", job_id: UUID) -> None:
    moment = func.now() - timedelta(seconds=100)
    desk.alter(job_id, created_at=moment, available_at=moment, deadline_at=func.now() - timedelta(seconds=1))


def test_a_job_that_waited_beyond_its_deadline_has_failed(desk: "Desk") -> None:
    job = desk.submit(deadline_seconds=60)
    assert store.reconcile(desk.engine) == NOTHING
    _pass_deadline(desk, job.id)
    assert store.claim(desk.engine, job.id, "worker-1", 60) is None
    assert store.reconcile(desk.engine).failed == [job.id]
    job = desk.job(job.id)
    assert (job.state, job.attempt) == (State.FAILED, 0)
    assert job.error is not None
    assert job.error["type"] == "/problems/deadline-passed"
    assert "UTC" in job.error["detail"]


def test_a_lost_job_beyond_its_deadline_is_not_tried_again(desk: "Desk") -> None:
    lease = desk.start(deadline_seconds=60)
    _pass_deadline(desk, lease.job_id)
    _lose(desk, lease)
    assert store.reconcile(desk.engine).failed == [lease.job_id]
    job = desk.job(lease.job_id)
    assert job.error is not None
    assert job.error["type"] == "/problems/deadline-passed"


def test_a_worker_learns_of_the_deadline_when_it_renews(desk: "Desk") -> None:
    lease = desk.start(deadline_seconds=60)
    assert not store.renew(desk.engine, lease, 60).deadline_passed
    _pass_deadline(desk, lease.job_id)
    assert store.renew(desk.engine, lease, 60).deadline_passed
    store.miss_deadline(desk.engine, lease)
    assert desk.job(lease.job_id).state is State.FAILED
