"""Many tiny jobs on a service to which something happens every few seconds, and what must be true afterwards."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any
from uuid import UUID

import psutil
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from cli.embedded.announcement import Announcement
from jobs import store
from jobs.database import connect
from jobs.models import Job
from jobs.states import TERMINAL, State
from registry.local import LocalRegistry
from tests.faults.checkpoints import digests_of, published_by_job, require_nothing_left
from tests.faults.soak.client import Client
from tests.faults.soak.faults import Faults
from tests.worker.conftest import REQUESTS, eventually

LEASE_SECONDS = "5"
TOPICS = 40
SHARE_CANCELLED = 0.08
PAUSE_SECONDS = (2.0, 5.0)
ENOUGH_ATTEMPTS = "1000"
START_SECONDS = 120


@dataclass(frozen=True)
class Plan:
    """What a soak is given: `calm_seconds` is for the jobs that are left when nothing happens any more."""

    jobs: int
    workers: int
    fault_seconds: float
    calm_seconds: float
    seed: int


def soak(plan: Plan, folder: Path, model: Path) -> dict[str, Any]:
    """Run a soak in `folder` and check what it must leave.

    Returns:
        What happened, in numbers.
    """
    print(f"seed {plan.seed}", flush=True)  # noqa: T201  the way to have the same faults again
    data_dir = folder / "data"
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    env |= {"SECATEUR_LEASE_SECONDS": LEASE_SECONDS, "SECATEUR_RENEW_SECONDS": "0.5"}
    env |= {"SECATEUR_MAX_ATTEMPTS": ENOUGH_ATTEMPTS, "SECATEUR_DEVICE": "cpu"}
    command = [sys.executable, "-m", "tests.faults.soak.stack", str(data_dir), str(model.parent)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([*command, str(plan.workers)], env=env, stdout=output, stderr=output)
    try:
        eventually(lambda: process.poll() is None and Announcement.read(data_dir), seconds=START_SECONDS)
        report = _Soak(plan, process, data_dir, model).run()
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=90)
    assert code == 0, (folder / "output").read_text()[-4000:]
    assert not [member for member in family if member.is_running()]
    return report


class _Soak:
    def __init__(self, plan: Plan, process: subprocess.Popen[bytes], data_dir: Path, model: Path) -> None:
        self._plan, self._model = plan, model
        # Shorter than what is built in, whose tokens would take a third of a job's time.
        self._text = model.parent / "text.txt"
        self._text.write_text("\n\n".join(sorted(topics.values(), key=len)[:TOPICS]))
        self._chance = random.Random(plan.seed)  # noqa: S311  for faults, not for secrets
        self._client = Client(data_dir)
        self._faults = Faults(psutil.Process(process.pid), data_dir, self._chance)
        self._registry = LocalRegistry(data_dir / "registry")
        self._work_root = data_dir / "work"
        self._jobs: dict[str, dict[str, Any]] = {}
        self._cancelled: set[str] = set()

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        happened = self._disturb(began + self._plan.fault_seconds)
        self._faults.wake_sleepers(all_of_them=True)
        disturbed_seconds = time.monotonic() - began
        engine = connect(self._client.database_url)
        ended_before = self._count_ended(engine)
        eventually(lambda: self._count_ended(engine) == self._plan.jobs, seconds=self._plan.calm_seconds)
        states = self._check_jobs(engine)
        # What was left when a worker died goes with the next claim.
        last = self._client.submit(self._body("osscar"))
        eventually(lambda: self._client.job(last)["finished_at"], seconds=60)
        self._check_nothing_is_left()
        engine.dispose()
        return {
            "seed": self._plan.seed,
            "jobs": self._plan.jobs,
            "workers": self._plan.workers,
            "states": dict(states),
            "ended_before_the_last_fault": ended_before,
            "faults": dict(happened),
            "disturbed_seconds": round(disturbed_seconds),
            "seconds": round(time.monotonic() - began),
        }

    def _disturb(self, until: float) -> Counter[str]:
        """Submit jobs, cancel some, and do harm, until it is time and every job is submitted."""
        happened: Counter[str] = Counter()
        fault_at = time.monotonic()
        every = self._plan.fault_seconds / 2 / self._plan.jobs
        while len(self._jobs) < self._plan.jobs or time.monotonic() < until:
            if len(self._jobs) < self._plan.jobs:
                self._submit()
            if time.monotonic() >= fault_at:
                happened[self._faults.one()] += 1
                fault_at = time.monotonic() + self._chance.uniform(*PAUSE_SECONDS)
            time.sleep(min(every, 0.5))
        return happened

    def _submit(self) -> None:
        body = self._body(self._chance.choice(["osscar", "depth"]))
        job_id = self._client.submit(body)
        self._jobs[job_id] = body
        if self._chance.random() < SHARE_CANCELLED:
            unlucky = self._chance.choice(list(self._jobs))
            if self._client.cancel(unlucky):
                self._cancelled.add(unlucky)

    def _body(self, method: str) -> dict[str, Any]:
        return {
            "model": str(self._model),
            "method": method,
            "calibration": {"dataset": str(self._text), "samples": 8, "sequence_length": 64},
            "evaluation": {"dataset": str(self._text), "samples": 2, "sequence_length": 64},
            **REQUESTS[method],
        }

    def _count_ended(self, engine: Engine) -> int:
        with suppress(OperationalError):  # it comes back from the last fault
            return sum(job.state in TERMINAL for job in self._find(engine).values())
        return 0

    def _find(self, engine: Engine) -> dict[UUID, Job]:
        return store.find_all(engine, [UUID(job_id) for job_id in self._jobs])

    def _check_jobs(self, engine: Engine) -> Counter[str]:
        """See that each job has ended once, in a way that it may, with what belongs to that."""
        jobs = self._find(engine)
        failures = [job for job in jobs.values() if job.state is State.FAILED]
        # To be killed by signal 9 is what running out of memory looks like, and is not tried again.
        errors = [job.error for job in failures if job.error]
        assert all(error["type"] == "/problems/out-of-memory" for error in errors), errors
        assert len(failures) <= self._faults.killed_children, errors
        for job_id, job in jobs.items():
            last_words = [event.kind for event in store.events(engine, job_id) if event.kind in TERMINAL]
            assert last_words == [job.state], (job_id, last_words)
            assert job.state is not State.CANCELLED or str(job_id) in self._cancelled
        self._check_checkpoints(jobs)
        return Counter(job.state.value for job in jobs.values())

    def _check_checkpoints(self, jobs: dict[UUID, Job]) -> None:
        published = published_by_job(self._registry)
        seen: dict[str, dict[str, str]] = {}
        for job_id, job in jobs.items():
            folders = published.get(str(job_id), [])
            if job.state is State.SUCCEEDED:
                (folder,) = folders
                assert job.artifact is not None
                assert job.artifact["location"] == str(folder)
                # Whatever happened to a job, its checkpoint is that of all jobs with its request.
                digests = digests_of(folder)
                assert seen.setdefault(job.method, digests) == digests

    def _check_nothing_is_left(self) -> None:
        """See that ended jobs have left nothing but what succeeded, and no process."""
        eventually(lambda: not list(self._work_root.iterdir()))
        require_nothing_left(self._work_root, self._registry)
        states = {job_id: self._client.job(job_id)["state"] for job_id in published_by_job(self._registry)}
        assert set(states.values()) == {"succeeded"}, states
        assert not self._faults.named("worker.child")
