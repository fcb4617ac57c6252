"""Who posts a job does not wait for the broker, and a long queue gets no more messages than it needs."""

import uuid
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
import structlog

from api.waking import ENOUGH, Waking
from jobs.queue import WakeUps, make_celery
from jobs.settings import Settings
from tests.api.conftest import WakeUpQueue


@pytest.fixture
def messages(broker_url: str) -> WakeUpQueue:
    queue = WakeUpQueue(broker_url)
    queue.take()
    return queue


@pytest.fixture
def make_waking(settings: Settings) -> Iterator[Callable[..., Waking]]:
    made: list[Waking] = []

    def make(**changes: str) -> Waking:
        wake_ups = WakeUps(make_celery(settings.model_copy(update=changes)))
        made.append(Waking(wake_ups))
        return made[-1]

    yield make
    for waking in made:
        waking.close()


def test_jobs_are_woken_for_in_their_order(make_waking: Callable[..., Waking], messages: WakeUpQueue) -> None:
    jobs = [uuid.uuid4() for _ in range(5)]
    waking = make_waking()
    for job_id in jobs:
        waking.wake(job_id)
    waking.settle()
    assert messages.take() == list(map(str, jobs))


def test_behind_a_long_queue_nobody_is_woken_and_behind_a_short_one_again(
    make_waking: Callable[..., Waking], messages: WakeUpQueue, settings: Settings
) -> None:
    wake_ups = WakeUps(make_celery(settings))
    for _ in range(ENOUGH):
        assert wake_ups.publish(uuid.uuid4())
    waking = make_waking()
    waking.wake(uuid.uuid4())
    waking.settle()
    assert wake_ups.count() == ENOUGH
    messages.wait(seconds=5)
    last = uuid.uuid4()
    waking.wake(last)
    waking.settle()
    assert messages.take()[-1] == str(last)


def test_what_is_asked_for_before_the_end_is_published(settings: Settings, messages: WakeUpQueue) -> None:
    job_id = uuid.uuid4()
    waking = Waking(WakeUps(make_celery(settings)))
    waking.wake(job_id)
    waking.close()
    assert messages.take() == [str(job_id)]


def test_a_broker_that_is_away_is_said_once_for_all_that_wait(make_waking: Callable[..., Waking]) -> None:
    waking = make_waking(redis_url="redis://127.0.0.1:1/0")
    jobs = [uuid.uuid4() for _ in range(3)]
    with structlog.testing.capture_logs() as lines:
        for job_id in jobs:
            waking.wake(job_id)
        waking.settle()
    said = [line for line in lines if line["event"] == "wake-ups not published"]
    assert [job_id for line in said for job_id in line["job_ids"]] == list(map(str, jobs))
    assert len(said) < len(jobs)


def test_an_error_that_nobody_foresaw_is_logged_and_the_next_job_is_woken_for(
    make_waking: Callable[..., Waking], messages: WakeUpQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    waking, real, calls = make_waking(), WakeUps.publish, iter([True])

    def fail_once(wake_ups: WakeUps, job_id: UUID) -> bool:
        if next(calls, False):
            raise RuntimeError("unforeseen")
        return real(wake_ups, job_id)

    monkeypatch.setattr(WakeUps, "publish", fail_once)
    lost, woken = uuid.uuid4(), uuid.uuid4()
    with structlog.testing.capture_logs() as lines:
        waking.wake(lost)
        waking.settle()
    assert [line["job_ids"] for line in lines if line["log_level"] == "error"] == [[str(lost)]]
    waking.wake(woken)
    waking.settle()
    assert messages.take() == [str(woken)]
