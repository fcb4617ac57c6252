"""One search on two real Celery workers: the table of one, whatever happens to the other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.embedded.valkey import EmbeddedValkey
from jobs import store
from jobs.models import JobShare
from jobs.states import State
from tests.conftest import PostgresServer
from tests.worker.conftest import eventually
from tests.worker.crew import Crew, crew_of_two

Table = list[dict[str, Any]]


@contextmanager
def crew_that_waits(
    server: PostgresServer, migrated: str, folder: Path, models: Path, patience: float
) -> Iterator[Crew]:
    """Two workers with a broker of their own, for it will be emptied."""
    with (
        EmbeddedValkey(folder / "valkey") as valkey,
        crew_of_two(
            server,
            migrated,
            redis_url=valkey.url,
            data_dir=folder / "data",
            local_roots=(models,),
            share_patience_seconds=patience,
        ) as crew,
    ):
        yield crew


@pytest.fixture(scope="module")
def crew(
    server: PostgresServer, migrated: str, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> Iterator[Crew]:
    with crew_that_waits(server, migrated, tmp_path_factory.mktemp("crew"), models, patience=60) as crew:
        yield crew


@pytest.fixture
def impatient_crew(server: PostgresServer, migrated: str, tmp_path: Path, models: Path) -> Iterator[Crew]:
    """Who waits no longer than a second beyond twice what the own share took."""
    with crew_that_waits(server, migrated, tmp_path, models, patience=1) as crew:
        yield crew


@pytest.fixture(scope="module")
def alone(crew: Crew, tiny_llama: Path) -> tuple[object, Table]:
    """What one worker finds."""
    job_id = crew.submit(request(tiny_llama))
    found = table(crew, job_id)
    assert crew.told(job_id, "shared") == []
    return found


def request(model: Path, samples: int = 256, **options: Any) -> dict[str, Any]:
    """With windows enough for several batches of 32 in the search."""
    return {
        "model": {"id": str(model), "revision": None},
        "method": "depth",
        "ratio": 0.5,
        "options": {"heal": "none", "search": "exhaustive", **options},
        "calibration": {"dataset": "builtin", "samples": samples, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "destination": {"kind": "local"},
    }


def table(crew: Crew, job_id: UUID) -> tuple[object, Table]:
    """The removed layers and every number that was told of every candidate."""
    job = crew.finish(job_id)
    assert job.state is State.SUCCEEDED, job.error
    return job.cut, crew.told(job_id, "candidate")


def shares(crew: Crew) -> list[JobShare]:
    with Session(crew.engine) as session:
        return list(session.scalars(select(JobShare)))


def wait_for_a_share(crew: Crew) -> JobShare:
    """Wait until a worker took one."""
    eventually(lambda: any(share.worker for share in shares(crew)), seconds=60)
    return shares(crew)[0]


def scored_by(crew: Crew, job_id: UUID) -> list[tuple[str | None, bool]]:
    (told,) = crew.told(job_id, "shared")
    return [(share["worker"], share["scored"]) for share in told["shares"]]


def test_two_workers_find_the_table_of_one(crew: Crew, alone: tuple[object, Table], tiny_llama: Path) -> None:
    job_id = crew.submit(request(tiny_llama, parallelism=2))
    assert table(crew, job_id) == alone
    ((helper, scored),) = scored_by(crew, job_id)
    (claimed,) = crew.told(job_id, "claimed")
    assert scored
    assert helper not in (None, claimed["worker"])
    assert shares(crew) == []


def test_what_a_worker_scored_counts_though_the_broker_forgot_the_chord(
    crew: Crew, alone: tuple[object, Table], tiny_llama: Path
) -> None:
    job_id = crew.submit(request(tiny_llama, parallelism=2))
    wait_for_a_share(crew)
    crew.empty_the_broker()
    assert table(crew, job_id) == alone
    assert [scored for _, scored in scored_by(crew, job_id)] == [True]


def test_a_cancel_ends_the_children_of_both_workers_within_seconds(crew: Crew, slow_llama: Path) -> None:
    job_id = crew.submit(request(slow_llama, samples=600, parallelism=2))
    wait_for_a_share(crew)
    eventually(lambda: len(crew.children()) == 2)
    children = crew.children()
    store.request_cancel(crew.engine, job_id)
    asked = time.monotonic()
    psutil.wait_procs(children, timeout=10)
    assert time.monotonic() - asked < 5
    assert crew.finish(job_id).state is State.CANCELLED
    assert shares(crew) == []


def test_without_the_other_worker_the_jobs_own_scores_everything(
    impatient_crew: Crew, alone: tuple[object, Table], tiny_llama: Path
) -> None:
    crew = impatient_crew
    job_id = crew.submit(request(tiny_llama, parallelism=2))
    killed = wait_for_a_share(crew).worker
    assert killed is not None
    crew.process(killed).kill()
    assert table(crew, job_id) == alone
    assert scored_by(crew, job_id) == [(killed, False)]
    assert crew.job(job_id).attempt == 1

    # Now there is only one: the next job's messages wait for nobody.
    job_id = crew.submit(request(tiny_llama, parallelism=3))
    assert table(crew, job_id) == alone
    assert scored_by(crew, job_id) == [(None, False)] * 2
