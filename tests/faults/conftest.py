"""Two workers and a reconciler on a Postgres and a Valkey of their own, all of which may be killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.server import EmbeddedServer
from cli.embedded.valkey import EmbeddedValkey
from jobs.database import connect
from jobs.settings import Settings
from jobs.states import Stage
from migrations import upgrade
from tests.tiny_models import make_tiny_llama
from tests.worker.conftest import bench, eventually, fork_server, settings
from tests.worker.crew import Crew, running

__all__ = ["bench", "fork_server", "settings"]
"""Fixtures that the tests of the worker have, too."""

LEASE_SECONDS = 6.0
"""Longer than what a job has to survive here without a database, shorter than what it does not survive."""


A_DAY_AHEAD = """
import time
real = {name: getattr(time, name) for name in ("time", "time_ns")}
time.time = lambda: real["time"]() + 86400
time.time_ns = lambda: real["time_ns"]() + 86400 * 10**9
"""


@dataclass(frozen=True)
class Servers:
    """The databases of these tests alone."""

    postgres: EmbeddedPostgres
    redis: EmbeddedValkey


@contextmanager
def away(server: EmbeddedServer) -> Iterator[None]:
    """Stop a server; it is there again after the block."""
    server.__exit__(None, None, None)
    yield
    server.__enter__()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with (
        EmbeddedPostgres(tmp_path_factory.mktemp("own-postgres")) as postgres,
        EmbeddedValkey(tmp_path_factory.mktemp("own-valkey")) as redis,
    ):
        yield Servers(postgres, redis)


@pytest.fixture(scope="session")
def shared_crew(servers: Servers, tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Crew]:
    upgrade(servers.postgres.url)
    own = Settings(
        database_url=servers.postgres.url,
        redis_url=servers.redis.url,
        data_dir=tmp_path_factory.mktemp("faults"),
        local_roots=(models,),
        lease_seconds=LEASE_SECONDS,
    )
    engine = connect(own)
    ahead = tmp_path_factory.mktemp("a-day-ahead")
    (ahead / "sitecustomize.py").write_text(A_DAY_AHEAD)
    with running(engine, own, workers=2, first={"PYTHONPATH": str(ahead)}) as crew:
        yield crew
    engine.dispose()


@pytest.fixture
def crew(shared_crew: Crew) -> Crew:
    """The same for all tests, whole again after each. The clock of one worker is a day ahead of the database's."""
    shared_crew.keep_up()
    shared_crew.wait_for(3)
    return shared_crew


@pytest.fixture(scope="session")
def many_layers(models: Path) -> Path:
    """A model that takes some seconds to prune, of which every layer takes its part."""
    return make_tiny_llama(models / "many-layers", num_hidden_layers=16)


def request(model: Path, samples: int = 64) -> dict[str, Any]:
    return {
        "model": {"id": str(model), "revision": None},
        "method": "osscar",
        "ratio": 0.5,
        "options": {"producer_steps": 0},
        "calibration": {"dataset": "builtin", "samples": samples, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "destination": {"kind": "local"},
    }


def pruned_layers(crew: Crew, job_id: UUID, attempt: int) -> int:
    job = crew.job(job_id)
    if (job.attempt, job.stage) != (attempt, Stage.PRUNING):
        return 0
    return len(crew.told(job_id, "layer"))


def wait_until_pruning(crew: Crew, job_id: UUID, attempt: int = 1) -> None:
    eventually(lambda: pruned_layers(crew, job_id, attempt) >= 2, seconds=60)
