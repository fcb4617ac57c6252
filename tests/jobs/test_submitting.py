from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from jobs import store
from jobs.states import State
from jobs.store import IdempotencyConflict, Submission

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk

LABELS = {"model": "tiny", "method": "depth", "ratio": 0.1, "dataset": "builtin"}
REQUEST = {"model": "tiny", "options": {"search": "race", "layers": [1, 2]}}


def test_a_submitted_job_is_queued(desk: "Desk") -> None:
    submission = store.submit(desk.engine, REQUEST, **LABELS, max_attempts=5)
    job = submission.job
    assert submission.created
    assert (job.state, job.stage, job.progress, job.attempt, job.max_attempts) == (
        State.QUEUED,
        None,
        0,
        0,
        5,
    )
    assert (job.model, job.method, job.ratio, job.dataset) == ("tiny", "depth", 0.1, "builtin")
    assert job.request == REQUEST
    assert job.submitted_by == "anonymous"
    assert job.woken_at is None


def test_times_are_read_in_utc_whatever_the_server_prefers(desk: "Desk") -> None:
    created_at = desk.submit().created_at
    assert created_at.utcoffset() == UTC.utcoffset(None)


def test_posts_without_a_key_are_jobs_of_their_own(desk: "Desk") -> None:
    assert desk.submit().id != desk.submit().id


def test_the_same_key_and_request_find_the_first_job(desk: "Desk") -> None:
    first = store.submit(desk.engine, REQUEST, **LABELS, idempotency_key="k")
    respelled = {"options": {"layers": [1, 2], "search": "race"}, "model": "tiny"}
    again = store.submit(desk.engine, respelled, **LABELS, idempotency_key="k")
    assert first.created
    assert not again.created
    assert again.job.id == first.job.id


def test_the_first_job_is_found_also_when_it_has_finished(desk: "Desk") -> None:
    first = store.submit(desk.engine, REQUEST, **LABELS, idempotency_key="k").job
    desk.succeed(desk.claim(first.id))
    again = store.submit(desk.engine, REQUEST, **LABELS, idempotency_key="k")
    assert not again.created
    assert again.job.state == State.SUCCEEDED


def test_the_same_key_with_another_request_is_a_conflict(desk: "Desk") -> None:
    first = store.submit(desk.engine, REQUEST, **LABELS, idempotency_key="k").job
    before = desk.snapshot()
    with pytest.raises(IdempotencyConflict) as caught:
        store.submit(desk.engine, REQUEST | {"model": "other"}, **LABELS, idempotency_key="k")
    assert caught.value.job.id == first.id
    assert desk.snapshot() == before


def test_a_key_means_nothing_to_another_submitter(desk: "Desk") -> None:
    def post(submitted_by: str) -> Submission:
        return store.submit(desk.engine, REQUEST, **LABELS, idempotency_key="k", submitted_by=submitted_by)

    alice, bob, bob_again = post("alice"), post("bob"), post("bob")
    assert alice.created
    assert bob.created
    assert not bob_again.created
    assert bob_again.job.id == bob.job.id


def test_identical_posts_at_once_make_one_job(desk: "Desk") -> None:
    barrier = Barrier(8)

    def post() -> Submission:
        barrier.wait()
        return store.submit(desk.engine, REQUEST, **LABELS, idempotency_key="k")

    with ThreadPoolExecutor(8) as pool:
        submissions = [future.result() for future in [pool.submit(post) for _ in range(8)]]
    assert len({submission.job.id for submission in submissions}) == 1
    assert sum(submission.created for submission in submissions) == 1
    assert len(store.list_jobs(desk.engine).jobs) == 1
