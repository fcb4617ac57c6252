"""Wake-ups that come twice, in another order, or never; and two beats that each have them published."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from jobs.models import Job
from jobs.states import State
from tests.faults.conftest import request
from tests.worker.conftest import eventually, is_over
from tests.worker.crew import Crew


def test_twice_in_another_order_and_never(crew: Crew, tiny_llama: Path) -> None:
    jobs = [crew.submit_unheard(request(tiny_llama, 8)) for _ in range(3)]
    for job_id in (jobs[2], jobs[1], jobs[0], jobs[2], jobs[1]):
        crew.wake(job_id)
    for job_id in jobs:
        crew.finish(job_id)
    eventually(lambda: crew.messages() == 0)
    time.sleep(1)
    jobs.append(crew.submit_unheard(request(tiny_llama, 8)))
    time.sleep(1)
    assert crew.job(jobs[3]).state is State.QUEUED
    crew.reconcile()
    crew.finish(jobs[3])
    for job_id in jobs:
        crew.wake(job_id)
        job = crew.job(job_id)
        assert (job.state, job.attempt) == (State.SUCCEEDED, 1), job.error
        assert len(crew.told(job_id, "claimed")) == 1


def test_two_beats_publish_what_nobody_was_woken_for(crew: Crew, tiny_llama: Path, tmp_path: Path) -> None:
    job_id = crew.submit_unheard(request(tiny_llama, 8))
    with Session(crew.engine) as session, session.begin():
        # Older than what the reconciler leaves alone.
        earlier = func.now() - timedelta(minutes=1)
        session.execute(update(Job).where(Job.id == job_id).values(created_at=earlier))
    env = os.environ | {"DATABASE_URL": crew.settings.database_url, "REDIS_URL": crew.settings.redis_url}
    beats = [
        subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker.app", "beat", "--schedule", str(tmp_path / name)],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in ("one", "another")
    ]
    try:
        eventually(lambda: is_over(crew.job(job_id)), seconds=60)
        assert [beat.poll() for beat in beats] == [None, None]
    finally:
        for beat in beats:
            beat.terminate()
            beat.wait(timeout=20)
    job = crew.job(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1), job.error
    assert len(crew.told(job_id, "claimed")) == 1


def test_a_worker_whose_clock_is_a_day_ahead(crew: Crew, tiny_llama: Path) -> None:
    """All times that decide anything are the database's."""
    jobs = [crew.submit(request(tiny_llama, 64), deadline_seconds=3600) for _ in range(4)]
    for job_id in jobs:
        job = crew.finish(job_id)
        assert (job.state, job.attempt) == (State.SUCCEEDED, 1), job.error
        assert job.finished_at is not None
        assert job.finished_at - job.created_at < timedelta(hours=1)
    workers = {claimed["worker"] for job_id in jobs for claimed in crew.told(job_id, "claimed")}
    # One whose clock is right, and the other.
    assert len(workers) == 2
