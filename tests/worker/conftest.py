"""Jobs on tiny models, run by the real supervisor with real child processes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import Engine

from jobs import store
from jobs.models import Job
from jobs.queue import ShareMessages, make_celery
from jobs.settings import Settings
from jobs.states import State
from worker.supervisor import run_job

REQUESTS: dict[str, dict[str, Any]] = {"osscar": {"ratio": 0.5}, "depth": {"ratio": 0.25}}


@pytest.fixture
def settings(tmp_path: Path, models: Path, database_url: str) -> Settings:
    return Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        data_dir=tmp_path / "data",
        local_roots=(models,),
        device="cpu",
        lease_seconds=10,
        renew_seconds=0.2,
    )


class Bench:
    """Submits jobs and supervises them as a worker would."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.stopping = threading.Event()

    def submit(self, model: Path, method: str = "osscar", samples: int = 8, **changes: Any) -> UUID:
        request = {
            "model": {"id": str(model), "revision": None},
            "method": method,
            "calibration": {"dataset": "builtin", "samples": samples, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
            "destination": {"kind": "local"},
            **REQUESTS[method],
            **changes,
        }
        labels = {"model": str(model), "method": method, "ratio": request["ratio"], "dataset": "builtin"}
        return store.submit(self.engine, request, **labels).job.id

    def run(self, job_id: UUID) -> None:
        messages = ShareMessages(make_celery(self.settings))
        run_job(self.engine, self.settings, job_id, "test-worker", self.stopping, messages)

    @contextmanager
    def running(self, job_id: UUID) -> Iterator[psutil.Process]:
        """Supervise in a thread; inside, the child is pruning. The block ends when the supervisor does."""
        thread = threading.Thread(target=self.run, args=(job_id,))
        thread.start()
        try:
            eventually(lambda: self.job(job_id).stage == "pruning", seconds=60)
            yield child_of_this_process()
        finally:
            thread.join(timeout=60)
            assert not thread.is_alive()

    def job(self, job_id: UUID) -> Job:
        job = store.get(self.engine, job_id)
        assert job is not None
        return job

    def kinds(self, job_id: UUID) -> list[str]:
        return [event.kind for event in store.events(self.engine, job_id)]

    def published(self) -> list[Path]:
        return sorted((self.settings.registry_root / "pruned").glob("*"))

    def at_work(self) -> list[Path]:
        return sorted(self.settings.work_root.glob("*"))

    def staged(self) -> list[Path]:
        return sorted((self.settings.registry_root / ".staging").glob("*"))


@pytest.fixture
def bench(engine: Engine, settings: Settings) -> Bench:
    return Bench(engine, settings)


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def child_of_this_process() -> psutil.Process:
    (child,) = [p for p in psutil.Process().children() if "worker.child" in p.cmdline()]
    return child


def is_over(job: Job) -> bool:
    return job.state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)
