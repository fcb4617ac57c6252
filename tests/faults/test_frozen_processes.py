"""Processes that stand still for longer than a lease lasts, and wake up in the middle of somebody else's attempt."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from jobs import store
from jobs.states import Stage, State
from registry.local import LocalRegistry
from registry.manifest import MANIFEST_NAME, Manifest
from tests.conftest import PostgresServer
from tests.worker.conftest import eventually
from tests.worker.crew import Crew, crew_of_two

LEASE_SECONDS = 3


@pytest.fixture
def crew(
    server: PostgresServer, migrated: str, broker_url: str, tmp_path: Path, models: Path
) -> Iterator[Crew]:
    """Two workers whose leases are short."""
    with crew_of_two(
        server,
        migrated,
        redis_url=broker_url,
        data_dir=tmp_path / "data",
        local_roots=(models,),
        lease_seconds=LEASE_SECONDS,
    ) as crew:
        yield crew


def request(model: Path) -> dict[str, Any]:
    return {
        "model": {"id": str(model), "revision": None},
        "method": "osscar",
        "ratio": 0.5,
        "options": {"producer_steps": 0},
        "calibration": {"dataset": "builtin", "samples": 24, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "destination": {"kind": "local"},
    }


def pruning(crew: Crew, job_id: UUID, attempt: int) -> bool:
    job = crew.job(job_id)
    return (job.attempt, job.stage) == (attempt, Stage.PRUNING)


def require_one_whole_checkpoint(crew: Crew, job_id: UUID) -> None:
    """What the manifest lists is there, to the last bit, and nothing besides."""
    registry = LocalRegistry(crew.settings.registry_root)
    (published,) = (registry.root / "pruned").iterdir()
    manifest = Manifest.model_validate_json((published / MANIFEST_NAME).read_bytes())
    assert manifest.job_id == str(job_id)
    digests = {
        str(file.relative_to(published)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in published.rglob("*")
        if file.is_file() and file.name != MANIFEST_NAME
    }
    assert {file.path: file.sha256 for file in manifest.files} == digests
    assert list(registry.staging_root.iterdir()) == []


@pytest.mark.parametrize("frozen", ["the worker", "its child"])
def test_who_wakes_up_after_his_lease_changes_nothing(frozen: str, crew: Crew, slow_llama: Path) -> None:
    job_id = crew.submit(request(slow_llama))
    eventually(lambda: pruning(crew, job_id, attempt=1), seconds=60)
    first = crew.job(job_id).worker
    assert first is not None
    worker = crew.process(first)
    (child,) = crew.children()
    # Either way nobody renews the lease; in the first the child goes on alone.
    worker.suspend()
    if frozen == "its child":
        child.suspend()

    def taken_over() -> bool:
        crew.reconcile()
        return pruning(crew, job_id, attempt=2)

    eventually(taken_over, seconds=60)
    second = crew.job(job_id).worker
    child_was_there = child.is_running()
    worker.resume()
    if child_was_there:
        child.resume()
    job = crew.finish(job_id)
    assert (job.state, job.attempt, job.worker) == (State.SUCCEEDED, 2, None)
    assert second != first
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running()
    events = store.events(crew.engine, job_id)
    assert [event.data["worker"] for event in events if event.kind == "claimed"] == [first, second]
    (second_claim,) = [event.id for event in events if event.kind == "claimed" and event.attempt == 2]
    assert {event.attempt for event in events if event.id > second_claim} == {2}
    assert [event.kind for event in events].count("succeeded") == 1
    require_one_whole_checkpoint(crew, job_id)
    eventually(lambda: list(crew.settings.work_root.iterdir()) == [])
