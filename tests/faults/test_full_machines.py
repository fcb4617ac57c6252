"""Machines that have no memory or no disk left, by limits that the kernel keeps."""

import resource
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine

from jobs.settings import Settings
from jobs.states import State
from tests.small_disk import small_disk
from tests.worker.conftest import Bench, eventually
from worker.forking import ForkServer

MIB = 2**20


def failed(bench: Bench, job_id: Any) -> dict[str, Any]:
    job = bench.job(job_id)
    assert job.state is State.FAILED
    assert job.attempt == 1
    assert job.error is not None
    return job.error


@pytest.mark.parametrize("place", ["registry", "work"])
def test_a_full_disk_is_said_with_the_file_and_the_job_is_not_tried_again(
    bench: Bench, tiny_llama: Path, place: str
) -> None:
    with small_disk(bench.settings.data_dir / place, 64 * 1024):
        job_id = bench.submit(tiny_llama, weights="streamed")
        bench.run(job_id)
        error = failed(bench, job_id)
        assert error["type"] == "/problems/disk-full"
        assert "Make room" in error["detail"]
        assert bench.published() == bench.staged() == bench.at_work() == []


def test_a_child_that_reaches_its_memory_limit_says_what_to_lower(
    engine: Engine, settings: Settings, fork_server: ForkServer, slow_llama: Path
) -> None:
    bench = Bench(engine, settings, fork_server)
    job_id = bench.submit(slow_llama, samples=600)
    with bench.running(job_id) as child:
        taken = child.memory_info().vms
        child.rlimit(psutil.RLIMIT_AS, (taken + MIB, resource.RLIM_INFINITY))
        eventually(lambda: bench.job(job_id).state is State.FAILED, seconds=60)
    error = failed(bench, job_id)
    assert error["type"] == "/problems/out-of-memory"
    assert "calibration.samples" in error["detail"]
    assert bench.published() == bench.staged() == bench.at_work() == []
