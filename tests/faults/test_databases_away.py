"""Postgres and Redis go away and come back while jobs are submitted, run and finished."""

import time
from pathlib import Path

from jobs.states import State
from registry.local import LocalRegistry
from tests.faults.checkpoints import require_one_whole_checkpoint
from tests.faults.conftest import LEASE_SECONDS, Servers, away, request, wait_until_pruning
from tests.faults.test_killed_processes import finished_with_help
from tests.worker.conftest import eventually
from tests.worker.crew import Crew


def test_postgres_is_away_for_less_than_the_lease(crew: Crew, servers: Servers, many_layers: Path) -> None:
    job_id = crew.submit(request(many_layers, samples=200))
    wait_until_pruning(crew, job_id)
    (child,) = crew.children()
    with away(servers.postgres):
        time.sleep(LEASE_SECONDS / 2)
        assert child.is_running()
    job = crew.finish(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1), job.error
    # Nothing that was said meanwhile is missing.
    assert [layer["layer"] for layer in crew.told(job_id, "layer")] == list(range(16))


def test_postgres_is_away_for_longer_than_the_lease(crew: Crew, servers: Servers, many_layers: Path) -> None:
    job_id = crew.submit(request(many_layers, samples=800))
    wait_until_pruning(crew, job_id)
    (child,) = crew.children()
    with away(servers.postgres):
        eventually(lambda: not child.is_running(), seconds=LEASE_SECONDS + 10)
    finished_with_help(crew, job_id)
    job = crew.job(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2), job.error
    require_one_whole_checkpoint(crew, job_id)


def test_postgres_is_away_at_the_final_commit(crew: Crew, servers: Servers, many_layers: Path) -> None:
    job_id = crew.submit(request(many_layers))
    wait_until_pruning(crew, job_id)
    registry = LocalRegistry(crew.settings.registry_root)
    with away(servers.postgres):
        eventually(lambda: list(registry.root.glob(f"pruned/*/{job_id}")), seconds=60)
    finished_with_help(crew, job_id)
    job = crew.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    require_one_whole_checkpoint(crew, job_id)


def test_redis_is_away_while_jobs_are_submitted_and_run(
    crew: Crew, servers: Servers, many_layers: Path, tiny_llama: Path
) -> None:
    running = crew.submit(request(many_layers, samples=200))
    wait_until_pruning(crew, running)
    with away(servers.redis):
        submitted = [crew.submit_unheard(request(tiny_llama, 8)) for _ in range(3)]
        assert not crew.wake(submitted[0])
        time.sleep(2)
    finished_with_help(crew, running, *submitted)
    assert [crew.job(job_id).state for job_id in (running, *submitted)] == [State.SUCCEEDED] * 4
    assert crew.job(running).attempt <= 2


def test_redis_is_emptied_under_queued_jobs(crew: Crew, many_layers: Path, tiny_llama: Path) -> None:
    jobs = [crew.submit(request(many_layers)) for _ in range(2)]
    for job_id in jobs:
        wait_until_pruning(crew, job_id)
    # Nobody is free to take them.
    jobs += [crew.submit(request(tiny_llama, 8)) for _ in range(3)]
    crew.empty_the_broker()
    finished_with_help(crew, *jobs)
    assert [(crew.job(job_id).state, crew.job(job_id).attempt) for job_id in jobs] == [
        (State.SUCCEEDED, 1)
    ] * 5
