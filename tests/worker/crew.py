"""Real Celery workers on a database and a broker of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID

import psutil
from kombu import Connection
from sqlalchemy import Engine

from jobs import store
from jobs.database import connect
from jobs.models import Job, JobEvent
from jobs.queue import JOBS_QUEUE, WakeUps, make_celery
from jobs.settings import Settings
from tests.conftest import PostgresServer
from tests.worker.conftest import children_of, eventually, is_over

WORKER = [
    sys.executable,
    "-m",
    "celery",
    "-A",
    "worker.app",
    "worker",
    "--without-gossip",
    "--without-mingle",
]
_numbers = count()
QUEUES = {"jobs": ["--pool", "threads", "--concurrency", "1"], "reconcile": ["--pool", "solo"]}


class Crew:
    """Workers, and the jobs they are given."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._wake_ups = WakeUps(make_celery(settings))
        self._processes: list[psutil.Popen] = []
        self._queues: list[str] = []
        self._envs: list[dict[str, str]] = []

    def start(self, queue: str, **env: str) -> None:
        """Start a worker for a queue; what is published before it is there waits for it."""
        own = {
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "SECATEUR_DATA_DIR": str(self.settings.data_dir),
            "SECATEUR_LOCAL_ROOTS": str(self.settings.local_roots[0]),
            "SECATEUR_DEVICE": "cpu",
            "SECATEUR_RENEW_SECONDS": "0.5",
            "SECATEUR_LEASE_SECONDS": str(self.settings.lease_seconds),
            "SECATEUR_SHARE_PATIENCE_SECONDS": str(self.settings.share_patience_seconds),
        }
        if self.settings.metrics_port is not None:
            own["SECATEUR_METRICS_PORT"] = str(self.settings.metrics_port)
        name = f"{queue}-{next(_numbers)}@%h"
        command = [*WORKER, "--queues", queue, "--hostname", name, *QUEUES[queue]]
        self._queues.append(queue)
        self._envs.append(env)
        self._processes.append(
            psutil.Popen(
                command, env=os.environ | own | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

    def keep_up(self) -> None:
        """Start workers in the place of those that ended, as whoever runs a service does."""
        for number, process in reversed([*enumerate(self._processes)]):
            if process.poll() is not None:
                env, queue, _ = self._envs.pop(number), self._queues.pop(number), self._processes.pop(number)
                self.start(queue, **env)

    def kill_all(self) -> None:
        """Kill every worker, as when a machine dies."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def stop_last(self) -> None:
        """Stop the worker that was started last, and miss it no more."""
        self._envs.pop()
        self._queues.pop()
        process = self._processes.pop()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    def wait_for(self, workers: int) -> None:
        """Wait until so many workers take messages."""
        inspect = make_celery(self.settings).control.inspect(timeout=0.5)
        eventually(lambda: len(inspect.ping() or {}) == workers, seconds=60)

    def submit(self, request: dict[str, Any], **settings: Any) -> UUID:
        job_id = self.submit_unheard(request, **settings)
        assert self.wake(job_id)
        return job_id

    def submit_unheard(self, request: dict[str, Any], **settings: Any) -> UUID:
        """Submit a job whose wake-up is lost."""
        labels = {"model": request["model"]["id"], "method": request["method"], "ratio": request["ratio"]}
        return store.submit(self.engine, request, dataset="builtin", **labels, **settings).job.id

    def wake(self, job_id: UUID) -> bool:
        return self._wake_ups.publish(job_id)

    def job(self, job_id: UUID) -> Job:
        job = store.get(self.engine, job_id)
        assert job is not None
        return job

    def finish(self, job_id: UUID) -> Job:
        eventually(lambda: is_over(self.job(job_id)), seconds=120)
        return self.job(job_id)

    def events(self, job_id: UUID) -> list[JobEvent]:
        return store.events(self.engine, job_id)

    def told(self, job_id: UUID, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in store.events(self.engine, job_id, [kind])]

    def reconcile(self) -> None:
        """Do what beat has done every ten seconds."""
        for job_id in store.reconcile(self.engine, wake_after_seconds=0.5).to_wake:
            self._wake_ups.publish(job_id)

    def process(self, worker: str) -> psutil.Process:
        """The worker of this name, which ends with its process id."""
        return psutil.Process(int(worker.rpartition(":")[2]))

    def children(self) -> list[psutil.Process]:
        """What prunes or scores now."""
        return [child for process in self._processes for child in self.children_of(process)]

    @staticmethod
    def children_of(worker: psutil.Process) -> list[psutil.Process]:
        """What prunes or scores for a worker now."""
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            return []
        modules = ("worker.child", "worker.share_child")
        return [child for module in modules for child in children_of(worker, module)]

    def empty_the_broker(self) -> None:
        with Connection(self.settings.redis_url) as connection:
            connection.default_channel.client.flushall()

    def messages(self) -> int:
        """How many messages nobody has taken yet."""
        with Connection(self.settings.redis_url) as connection:
            waiting: int = connection.default_channel.client.llen(JOBS_QUEUE)
        return waiting

    def stop(self) -> None:
        for process in self._processes:
            if process.is_running():
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(timeout=30)


@contextmanager
def crew_of_two(server: PostgresServer, migrated: str, **settings: Any) -> Iterator[Crew]:
    """Two workers with a database of their own."""
    with server.database(migrated) as url:
        chosen = Settings(database_url=url, **settings)
        engine = connect(chosen)
        with running(engine, chosen, workers=2) as crew:
            yield crew
        engine.dispose()


@contextmanager
def running(
    engine: Engine, settings: Settings, *, workers: int, first: dict[str, str] | None = None
) -> Iterator[Crew]:
    """So many workers that prune, the first in an environment of its own, and one that reconciles."""
    crew = Crew(engine, settings)
    try:
        crew.start("reconcile")
        crew.start("jobs", **(first or {}))
        for _ in range(workers - 1):
            crew.start("jobs")
        crew.wait_for(1 + workers)
        yield crew
    finally:
        crew.stop()
