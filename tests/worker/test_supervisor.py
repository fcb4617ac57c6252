"""A job from claim to final state."""

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM

from jobs import store
from jobs.models import Job
from jobs.states import State
from registry.local import LocalRegistry
from registry.reading import find_model
from tests.worker.conftest import Bench, eventually
from worker import supervisor
from worker.assignment import SUCCEEDED, Message
from worker.process import ChildProcess

ENOUGH_TO_WAIT = 600


@pytest.mark.parametrize("method", ["osscar", "depth"])
def test_a_job_ends_with_a_checkpoint_that_loads_and_the_numbers_beside_it(
    bench: Bench, tiny_llama: Path, method: str
) -> None:
    job_id = bench.submit(tiny_llama, method)
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert job.artifact is not None
    assert job.perplexity_before is not None
    assert job.perplexity_after is not None
    model = AutoModelForCausalLM.from_pretrained(job.artifact["location"])
    assert model.num_parameters() == job.parameters_after
    assert {file["path"] for file in job.artifact["files"]} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
        "secateur.json",
    }
    if method == "osscar":
        assert job.cut == {"intermediate_size_before": 256, "intermediate_size_after": 128}
        assert bench.kinds(job_id).count("layer") == 4
    else:
        assert job.cut is not None
        assert job.cut["layers_after"] == model.config.num_hidden_layers == 3
        told = [event.data for event in store.events(bench.engine, job_id) if event.kind == "candidate"]
        assert {tuple(candidate["layers"]) for candidate in told} == {(0,), (1,), (2,), (3,)}
        # Three leaders are tried, and the best of them is healed for good.
        assert [candidate["healed"] is not None for candidate in told] == [False] * 4 + [True] * 4
        assert job.cut["removed_layers"] == told[-1]["layers"]
        assert bench.kinds(job_id).count("healed") > 0
    assert bench.kinds(job_id)[0] == "claimed"
    assert bench.kinds(job_id)[-1] == "succeeded"
    assert bench.staged() == []


def test_a_job_that_somebody_else_has_is_left_alone(bench: Bench, tiny_llama: Path) -> None:
    job_id = bench.submit(tiny_llama)
    assert store.claim(bench.engine, job_id, "somebody-else", 60)
    bench.run(job_id)
    assert bench.job(job_id).worker == "somebody-else"
    bench.run(uuid4())


def test_one_wake_up_is_enough_for_all_that_is_queued(bench: Bench, tiny_llama: Path) -> None:
    first, second, third = (bench.submit(tiny_llama) for _ in range(3))
    supervisor.run_jobs(bench.workplace, second)
    assert all(bench.job(job_id).state is State.SUCCEEDED for job_id in (first, second, third))
    claimed = sorted(
        (first, second, third),
        key=lambda job_id: bench.job(job_id).started_at or datetime.max.replace(tzinfo=UTC),
    )
    assert claimed == [second, first, third]


def test_a_worker_that_stops_takes_no_other_job(bench: Bench, tiny_llama: Path) -> None:
    job_id = bench.submit(tiny_llama)
    bench.workplace.stopping.set()
    supervisor.run_jobs(bench.workplace, job_id)
    assert bench.kinds(job_id) == []


def test_a_job_whose_child_cannot_be_started_is_tried_again(
    bench: Bench, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit(tiny_llama)

    def fork(*_: object) -> None:
        raise ChildProcessError("killed at this moment")

    with monkeypatch.context() as patch:
        patch.setattr(bench.workplace.fork_server.__class__, "fork", fork)
        with pytest.raises(ChildProcessError):
            bench.run(job_id)
    past = func.now() - timedelta(seconds=1)
    with Session(bench.engine) as session, session.begin():
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))
    assert store.reconcile(bench.engine).requeued == [job_id]
    with Session(bench.engine) as session, session.begin():
        session.execute(update(Job).where(Job.id == job_id).values(available_at=past))
    bench.run(job_id)
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (State.SUCCEEDED, 2)


def test_a_recipe_that_turns_out_wrong_fails_with_its_problem(bench: Bench, tiny_llama: Path) -> None:
    # As when the text was exchanged after the API looked at it.
    job_id = bench.submit(tiny_llama, samples=20_000)
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] == "/problems/text-too-short"
    assert job.error["errors"][0]["field"] == "calibration.samples"
    assert bench.published() == bench.staged() == []


def test_a_model_that_vanished_fails_with_its_problem(bench: Bench, models: Path) -> None:
    job_id = bench.submit(models / "gone")
    bench.run(job_id)
    error = bench.job(job_id).error
    assert error is not None
    assert error["type"] == "/problems/unknown-model"


def test_a_child_killed_by_signal_9_is_said_to_be_out_of_memory(bench: Bench, slow_llama: Path) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT)
    with bench.running(job_id) as child:
        child.send_signal(signal.SIGKILL)
    job = bench.job(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] == "/problems/out-of-memory"
    assert "calibration.samples" in job.error["detail"]


def test_a_child_killed_while_it_streams_leaves_no_layers_behind(bench: Bench, slow_llama: Path) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT, weights="streamed")
    with bench.running(job_id) as child:
        eventually(lambda: bool(list(bench.settings.work_root.rglob("layer-*.safetensors"))), seconds=60)
        child.send_signal(signal.SIGKILL)
    assert bench.at_work() == []


def test_jobs_that_name_a_model_make_versions_of_it(bench: Bench, tiny_llama: Path) -> None:
    jobs = [bench.submit(tiny_llama, destination={"kind": "local", "name": "team/small"}) for _ in range(2)]
    artifacts = []
    for job_id in jobs:
        bench.run(job_id)
        artifact = bench.job(job_id).artifact
        assert artifact is not None
        assert artifact["name"] == "team/small"
        artifacts.append(artifact)
    model = find_model(bench.settings.registry_root, "team/small")
    assert model is not None
    assert [version.commit for version in model.versions] == [each["commit"] for each in reversed(artifacts)]
    first, second = (Path(artifact["location"]) for artifact in artifacts)
    # The same request makes the same weights, to the last bit.
    assert (first / "model.safetensors").samefile(second / "model.safetensors")
    assert bench.published() == []


def test_a_child_that_crashes_is_said_to_have_crashed(bench: Bench, slow_llama: Path) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT)
    with bench.running(job_id) as child:
        child.send_signal(signal.SIGSEGV)
    job = bench.job(job_id)
    assert job.error is not None
    assert job.error["type"] == "/problems/worker-crashed"
    assert f"signal {signal.SIGSEGV.value}" in job.error["detail"]


def test_cancel_ends_the_child_within_seconds_and_leaves_nothing(bench: Bench, slow_llama: Path) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT)
    started = time.monotonic()
    with bench.running(job_id) as child:
        asked = time.monotonic()
        store.request_cancel(bench.engine, job_id)
    assert time.monotonic() - asked < 5 < asked - started + 60
    assert bench.job(job_id).state is State.CANCELLED
    assert not child.is_running()
    assert bench.published() == bench.staged() == []


def test_a_job_whose_deadline_passes_ends_within_a_renewal(bench: Bench, slow_llama: Path) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT, deadline_seconds=3600)
    with bench.running(job_id) as child, Session(bench.engine) as session, session.begin():
        earlier = datetime.now(UTC) - timedelta(hours=1)
        session.execute(
            update(Job).where(Job.id == job_id).values(created_at=earlier, deadline_at=func.now())
        )
    job = bench.job(job_id)
    assert job.error is not None
    assert job.error["type"] == "/problems/deadline-passed"
    assert not child.is_running()
    assert bench.at_work() == bench.staged() == []


def test_a_cancel_that_overtakes_the_last_word_leaves_no_checkpoint(
    bench: Bench, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit(tiny_llama)
    next_message = ChildProcess.next_message

    def unheard(child: ChildProcess, timeout: float) -> Message | None:
        message = next_message(child, timeout)
        if message is not None and message.kind == SUCCEEDED:
            store.request_cancel(bench.engine, job_id)
            raise TimeoutError
        return message

    monkeypatch.setattr(ChildProcess, "next_message", unheard)
    published = []
    withdraw = LocalRegistry.withdraw
    monkeypatch.setattr(
        LocalRegistry, "withdraw", lambda *args: (published.extend(bench.published()), withdraw(*args))
    )
    bench.run(job_id)
    assert bench.job(job_id).state is State.CANCELLED
    assert len(published) == 1
    assert bench.published() == bench.staged() == []


def test_a_final_commit_whose_answer_was_lost_is_one_success(
    bench: Bench, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_and_hang_up(*args: Any, **facts: Any) -> None:
        store.succeed(*args, **facts)
        monkeypatch.setattr(supervisor, "succeed", store.succeed)
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    monkeypatch.setattr(supervisor, "succeed", commit_and_hang_up)
    job_id = bench.submit(tiny_llama)
    bench.run(job_id)
    assert bench.job(job_id).state is State.SUCCEEDED
    assert bench.kinds(job_id).count("succeeded") == 1
    assert len(bench.published()) == 1


def test_a_worker_that_stops_gives_the_job_back_without_counting_the_attempt(
    bench: Bench, slow_llama: Path
) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT)
    with bench.running(job_id) as child:
        bench.workplace.stopping.set()
    job = bench.job(job_id)
    assert job.state is State.QUEUED
    assert job.attempt == 0
    assert not child.is_running()


def test_a_worker_that_lost_its_lease_kills_its_child_and_writes_nothing(
    bench: Bench, slow_llama: Path
) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT)
    with bench.running(job_id) as child:
        # Expired, requeued by the reconciler and claimed by another worker, all at once.
        with Session(bench.engine) as session, session.begin():
            expiry = datetime.now(UTC) - timedelta(seconds=1)
            session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=expiry, attempt=1))
        store.reconcile(bench.engine)
        with Session(bench.engine) as session, session.begin():
            session.execute(update(Job).where(Job.id == job_id).values(available_at=datetime.now(UTC)))
        theirs = store.claim(bench.engine, job_id, "another-worker", 60)
        assert theirs is not None
        kinds = bench.kinds(job_id)
    assert not child.is_running()
    job = bench.job(job_id)
    assert (job.state, job.worker, job.lease_token) == (State.RUNNING, "another-worker", theirs.token)
    assert bench.kinds(job_id) == kinds
    assert bench.ended("lease_lost") == 1


def test_what_an_attempt_published_before_it_was_lost_is_adopted_by_the_next(
    bench: Bench, tiny_llama: Path
) -> None:
    first = bench.submit(tiny_llama, "depth")
    bench.run(first)
    (published,) = bench.published()
    before = (published / "manifest.json").read_bytes()
    # The same job again, as if the final write had been lost.
    registry = LocalRegistry(bench.settings.registry_root)
    (registry.stage(str(first)) / "half").write_text("a second copy")
    artifact = registry.publish(str(first), str(first), f"pruned/{published.parent.name}")
    assert artifact.location == str(published)
    assert (published / "manifest.json").read_bytes() == before
    assert bench.staged() == []


def test_progress_and_perplexity_are_there_while_it_runs(bench: Bench, slow_llama: Path) -> None:
    job_id = bench.submit(slow_llama, samples=ENOUGH_TO_WAIT)
    with bench.running(job_id):
        deadline = time.monotonic() + 30
        while not (bench.job(job_id).progress > 0 and "layer" in bench.kinds(job_id)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job = bench.job(job_id)
        assert job.perplexity_before is not None
        assert job.perplexity_after is None
        assert job.eta_seconds is not None
        store.request_cancel(bench.engine, job_id)
