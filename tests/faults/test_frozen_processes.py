"""Processes that stand still for longer than a lease lasts, and wake up in the middle of somebody else's attempt."""

from pathlib import Path

import psutil

from jobs import store
from jobs.states import State
from registry.local import LocalRegistry
from tests.faults.checkpoints import require_nothing_left, require_one_whole_checkpoint
from tests.faults.conftest import pruned_layers, request, wait_until_pruning
from tests.worker.conftest import eventually
from tests.worker.crew import Crew


def test_who_wakes_up_after_his_lease_changes_nothing(crew: Crew, slow_llama: Path) -> None:
    jobs = [crew.submit(request(slow_llama, samples=24)) for _ in range(2)]
    for job_id in jobs:
        wait_until_pruning(crew, job_id)
    first = [str(crew.job(job_id).worker) for job_id in jobs]
    workers = [crew.process(name) for name in first]
    children = [child for worker in workers for child in crew.children_of(worker)]
    # Nobody renews the leases; the child of one goes on alone, that of the other stands still with it.
    frozen = [*workers, children[0]]
    for process in frozen:
        process.suspend()
    crew.start("jobs")

    def taken_over() -> bool:
        crew.reconcile()
        return any(pruned_layers(crew, job_id, attempt=2) for job_id in jobs)

    eventually(taken_over, seconds=90)
    for process in frozen:
        if process.is_running():
            process.resume()
    for job_id in jobs:
        job = crew.finish(job_id)
        assert (job.state, job.attempt, job.worker) == (State.SUCCEEDED, 2, None), job.error
    psutil.wait_procs(children, timeout=20)
    assert not [child for child in children if child.is_running()]
    for name, job_id in zip(first, jobs, strict=True):
        events = store.events(crew.engine, job_id)
        claims = [event for event in events if event.kind == "claimed"]
        assert [event.attempt for event in claims] == [1, 2]
        assert claims[0].data["worker"] == name
        assert {event.attempt for event in events if event.id > claims[1].id} == {2}
        assert [event.kind for event in events].count("succeeded") == 1
    assert require_one_whole_checkpoint(crew, jobs[0]) == require_one_whole_checkpoint(crew, jobs[1])
    eventually(lambda: not list(crew.settings.work_root.iterdir()))
    require_nothing_left(crew.settings.work_root, LocalRegistry(crew.settings.registry_root))
    crew.stop_last()
