"""One search on two real Celery workers: the table of one, whatever happens to the other."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cli.embedded.valkey import EmbeddedValkey
from jobs import store
from jobs.models import JobShare
from jobs.settings import Settings
from jobs.states import State
from tests.worker.conftest import eventually
from tests.worker.crew import Crew, running

Table = list[dict[str, Any]]


@pytest.fixture
def settings(tmp_path: Path, models: Path, database_url: str) -> Iterator[Settings]:
    # Its own broker, for it will be emptied.
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        yield Settings(
            database_url=database_url,
            redis_url=valkey.url,
            data_dir=tmp_path / "data",
            local_roots=(models,),
            share_patience_seconds=60,
        )


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    return settings.model_copy(update={"share_patience_seconds": 1.0})


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


def wait_for_a_share(crew: Crew, *, taken: bool = True) -> JobShare:
    eventually(lambda: any(share.worker or not taken for share in shares(crew)), seconds=60)
    return shares(crew)[0]


@pytest.mark.parametrize("search", ["exhaustive", "race"])
def test_two_workers_find_the_table_of_one(
    engine: Engine, settings: Settings, tiny_llama: Path, search: str
) -> None:
    with running(engine, settings, workers=2) as crew:
        alone = crew.submit(request(tiny_llama, search=search))
        expected = table(crew, alone)
        shared = crew.submit(request(tiny_llama, search=search, parallelism=2))
        assert table(crew, shared) == expected
        assert crew.told(alone, "shared") == []
        rounds = crew.told(shared, "shared")
        assert [told["round"] for told in rounds] == list(range(1, len(rounds) + 1))
        (owner,) = (told["worker"] for told in crew.told(shared, "claimed"))
        for told in rounds:
            (share,) = told["shares"]
            assert share["scored"]
            assert share["worker"] not in (None, owner)
        assert shares(crew) == []


def test_a_worker_without_others_goes_on_alone(engine: Engine, settings: Settings, tiny_llama: Path) -> None:
    with running(engine, settings, workers=1) as crew:
        expected = table(crew, crew.submit(request(tiny_llama)))
        # First with a message that waits for nobody, then with one that is lost.
        unheard = crew.submit(request(tiny_llama, parallelism=3))
        assert table(crew, unheard) == expected
        lost = crew.submit(request(tiny_llama, parallelism=2))
        wait_for_a_share(crew, taken=False)
        crew.empty_the_broker()
        assert table(crew, lost) == expected
        for job_id in (unheard, lost):
            (told,) = crew.told(job_id, "shared")
            assert {(share["worker"], share["scored"]) for share in told["shares"]} == {(None, False)}


def test_a_share_whose_worker_is_killed_is_scored_by_the_jobs_own(
    engine: Engine, impatient: Settings, tiny_llama: Path
) -> None:
    with running(engine, impatient, workers=2) as crew:
        expected = table(crew, crew.submit(request(tiny_llama)))
        job_id = crew.submit(request(tiny_llama, parallelism=2))
        worker = wait_for_a_share(crew).worker
        assert worker is not None
        crew.process(worker).kill()
        assert table(crew, job_id) == expected
        (told,) = crew.told(job_id, "shared")
        assert [(share["worker"], share["scored"]) for share in told["shares"]] == [(worker, False)]
        assert crew.job(job_id).attempt == 1


def test_what_a_worker_scored_counts_though_the_broker_forgot_the_chord(
    engine: Engine, settings: Settings, tiny_llama: Path
) -> None:
    with running(engine, settings, workers=2) as crew:
        job_id = crew.submit(request(tiny_llama, parallelism=2))
        wait_for_a_share(crew)
        crew.empty_the_broker()
        assert crew.finish(job_id).state is State.SUCCEEDED
        (told,) = crew.told(job_id, "shared")
        assert [share["scored"] for share in told["shares"]] == [True]


def test_a_cancel_ends_the_children_of_both_workers_within_seconds(
    engine: Engine, settings: Settings, slow_llama: Path
) -> None:
    with running(engine, settings, workers=2) as crew:
        job_id = crew.submit(request(slow_llama, samples=600, parallelism=2))
        wait_for_a_share(crew)
        eventually(lambda: len(crew.children()) == 2)
        children = crew.children()
        store.request_cancel(engine, job_id)
        asked = time.monotonic()
        psutil.wait_procs(children, timeout=10)
        assert time.monotonic() - asked < 5
        assert crew.finish(job_id).state is State.CANCELLED
        assert shares(crew) == []
