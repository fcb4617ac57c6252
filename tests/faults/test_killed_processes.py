"""Workers that are killed by signal 9, alone and all at once."""

import signal
from pathlib import Path

import psutil

from jobs.states import State
from registry.local import LocalRegistry
from tests.faults.checkpoints import require_nothing_left, require_one_whole_checkpoint
from tests.faults.conftest import request, wait_until_pruning
from tests.worker.conftest import eventually, is_over
from tests.worker.crew import Crew


def finished_with_help(crew: Crew, *job_ids: object) -> None:
    """Wait for jobs while somebody starts what died and reconciles, as in a running service."""

    def over() -> bool:
        crew.keep_up()
        crew.reconcile()
        return all(is_over(crew.job(job_id)) for job_id in job_ids)

    eventually(over, seconds=120)


def test_the_next_attempt_goes_on_and_its_checkpoint_is_the_same(crew: Crew, many_layers: Path) -> None:
    undisturbed = crew.submit(request(many_layers))
    crew.finish(undisturbed)
    job_id = crew.submit(request(many_layers))
    wait_until_pruning(crew, job_id)
    worker = crew.job(job_id).worker
    assert worker is not None
    (child,) = crew.children()
    crew.process(worker).kill()
    eventually(lambda: not child.is_running(), seconds=5)
    done_before = len(crew.told(job_id, "layer"))
    finished_with_help(crew, job_id)
    job = crew.job(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2), job.error
    seconds = [layer["seconds"] for layer in crew.told(job_id, "layer")]
    # What the first attempt had kept the second tells again as it was: nobody takes as long to the last digit.
    assert seconds[: done_before - 1] == seconds[done_before : 2 * done_before - 1]
    assert require_one_whole_checkpoint(crew, job_id) == require_one_whole_checkpoint(crew, undisturbed)


def test_all_at_once_and_then_whoever_takes_the_same_job(
    crew: Crew, many_layers: Path, tiny_llama: Path
) -> None:
    poison = crew.submit(request(many_layers, samples=400), max_attempts=2)
    others = [crew.submit(request(tiny_llama, 8)) for _ in range(3)]
    wait_until_pruning(crew, poison)
    children = crew.children()
    crew.kill_all()
    psutil.wait_procs(children, timeout=5)
    assert not [child for child in children if child.is_running()]

    def taken_again() -> bool:
        crew.keep_up()
        crew.reconcile()
        job = crew.job(poison)
        return (job.attempt, job.state) == (2, State.RUNNING)

    eventually(taken_again, seconds=90)
    crew.process(str(crew.job(poison).worker)).kill()
    finished_with_help(crew, poison, *others)
    job = crew.job(poison)
    assert (job.state, job.attempt) == (State.FAILED, 2)
    assert job.error is not None
    assert job.error["type"] == "/problems/worker-lost"
    for job_id in others:
        assert crew.job(job_id).state is State.SUCCEEDED
        require_one_whole_checkpoint(crew, job_id)
    # What was left when a worker died goes with the next claim.
    crew.finish(crew.submit(request(tiny_llama, 8)))
    eventually(lambda: not list(crew.settings.work_root.iterdir()))
    require_nothing_left(crew.settings.work_root, LocalRegistry(crew.settings.registry_root))


def test_a_stop_that_reaches_every_process_hands_the_job_back(crew: Crew, many_layers: Path) -> None:
    """As systemd stops a service: SIGTERM to all of its processes."""
    job_id = crew.submit(request(many_layers, samples=400))
    wait_until_pruning(crew, job_id)
    worker = crew.job(job_id).worker
    assert worker is not None
    process = crew.process(worker)
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.send_signal(signal.SIGTERM)
    eventually(lambda: "handed_back" in [event.kind for event in crew.events(job_id)], seconds=10)
    finished_with_help(crew, job_id)
    assert not [member for member in family if member.is_running()]
    job = crew.job(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1), job.error
