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
from worker.forking import ForkServer
from worker.supervisor import run_job
from worker.workplace import Workplace

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

    def __init__(self, engine: Engine, settings: Settings, fork_server: ForkServer) -> None:
        self.engine = engine
        self.settings = settings
        messages = ShareMessages(make_celery(settings))
        self.workplace = Workplace(engine, settings, "test-worker", messages, fork_server)

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
        run_job(self.workplace, job_id)

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
        return sorted((self.settings.registry_root / "pruned").glob("*/*"))

    def ended(self, outcome: str, method: str = "osscar") -> float | None:
        """Tell how many claims the metrics say ended so."""
        labels = {"outcome": outcome, "method": method}
        return self.workplace.metrics.registry.get_sample_value("secateur_worker_jobs_total", labels)

    def at_work(self) -> list[Path]:
        return sorted(self.settings.work_root.glob("*"))

    def staged(self) -> list[Path]:
        return sorted((self.settings.registry_root / ".staging").glob("*"))


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def bench(engine: Engine, settings: Settings, fork_server: ForkServer) -> Bench:
    return Bench(engine, settings, fork_server)


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def child_of_this_process() -> psutil.Process:
    (child,) = children_of(psutil.Process(), "worker.child")
    return child


def children_of(process: psutil.Process, module: str) -> list[psutil.Process]:
    """Give what runs `module` for `process`."""
    return [child for child in process.children(recursive=True) if module in child.cmdline()]


def is_over(job: Job) -> bool:
    return job.state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)
