"""Jobs whose checkpoints go to the Hub, run by the real supervisor with real child processes."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs import store
from jobs.models import Job
from jobs.states import State
from tests.hub.calls import Hub
from tests.hub.client import TOKEN, environment, talk_to
from tests.hub.faults import Fault
from tests.hub.repositories import Account, Commit
from tests.hub.server import run_hub
from tests.worker.conftest import Bench, eventually
from worker.forking import ForkServer

WEIGHTS = r"/storage/[0-9a-f]{64}(/\d+)?$"


@pytest.fixture(scope="module")
def running_hub() -> Iterator[Hub]:
    with run_hub(part_bytes=100_000) as hub:
        hub.accounts[TOKEN] = Account("worker", writes=("worker", "team"))
        yield hub


@pytest.fixture(scope="module")
def fork_server(running_hub: Hub) -> Iterator[ForkServer]:
    """One that finds this Hub and its token in its environment."""
    server = ForkServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(running_hub).items():
            patch.setenv(name, value)
        server.start()
    yield server
    server.close()


@pytest.fixture
def hub(running_hub: Hub) -> Iterator[Hub]:
    yield running_hub
    running_hub.faults.clear()
    running_hub.repositories.clear()
    running_hub.large.clear()
    running_hub.requests.clear()


def to_the_hub(**changes: Any) -> dict[str, Any]:
    return {"kind": "hub", "repo_id": "team/smaller", "private": True, "revision": "main", **changes}


def own_commits(hub: Hub, job_id: UUID) -> list[Commit]:
    history = hub.repositories["team/smaller"].history("main")
    return [commit for commit in history if str(job_id) in commit.message]


def told(bench: Bench, job_id: UUID, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in store.events(bench.engine, job_id, kinds=[kind])]


def in_a_thread(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def stop_once(bench: Bench, thread: threading.Thread, holding: Fault) -> None:
    """Stop the worker while the Hub holds a request back, let that go, and be a worker again."""
    bench.workplace.stopping.set()
    thread.join(30)
    holding.release.set()
    bench.workplace.stopping.clear()


def check_no_secret(job: Job, bench: Bench, captured: str) -> None:
    events = [event.data for event in store.events(bench.engine, job.id)]
    assert TOKEN not in f"{job.request} {job.artifact} {job.error} {events} {captured}"


def test_a_job_ends_with_one_commit_that_plain_transformers_loads(
    bench: Bench, hub: Hub, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit(tiny_llama, destination=to_the_hub())
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert job.artifact is not None
    (commit,) = own_commits(hub, job_id)
    assert job.artifact["revision"] == commit.id
    assert job.artifact["name"] == job.artifact["location"] == "team/smaller"
    assert job.artifact["url"] == f"{hub.url}/team/smaller/tree/{commit.id}"
    assert {file["path"] for file in job.artifact["files"]} == commit.files.keys() - {".gitattributes"}
    assert hub.repositories["team/smaller"].private
    uploads = told(bench, job_id, "upload")
    assert uploads[0] == {"bytes": 0, "total": job.artifact["bytes"]}
    assert uploads[-1] == {"bytes": job.artifact["bytes"], "total": job.artifact["bytes"]}
    assert told(bench, job_id, "published") == [
        {"repo_id": "team/smaller", "revision": commit.id, "url": job.artifact["url"]}
    ]
    assert bench.published() == bench.staged() == bench.at_work() == []

    talk_to(hub, monkeypatch)
    place = {"revision": commit.id, "cache_dir": tmp_path / "cache"}
    model = AutoModelForCausalLM.from_pretrained(job.artifact["location"], **place)
    assert model.num_parameters() == job.parameters_after
    tokenizer = AutoTokenizer.from_pretrained(job.artifact["location"], **place)
    assert perplexity(model, tokenizer) == pytest.approx(job.perplexity_after, rel=1e-4)


def test_a_repository_that_may_not_be_written_to_is_refused_before_anything_is_loaded(
    bench: Bench, hub: Hub, tiny_llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.faults.plant(Fault("POST", "/repos/create", status=403, message=f"{TOKEN} may not"))
    job_id = bench.submit(tiny_llama, destination=to_the_hub())
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] == "/problems/hub-forbidden"
    (error,) = job.error["errors"]
    assert (error["field"], error["value"]) == ("destination.repo_id", "team/smaller")
    assert "403, (token) may not" in error["reason"]
    assert bench.kinds(job_id) == ["claimed", "failed"]
    check_no_secret(job, bench, "".join(capfd.readouterr()))


def test_a_child_that_is_killed_while_it_uploads_is_followed_by_one_that_goes_on(
    bench: Bench, hub: Hub, tiny_llama: Path
) -> None:
    held = hub.faults.plant(Fault("PUT", WEIGHTS, hold=True))
    job_id = bench.submit(tiny_llama, destination=to_the_hub())
    thread = in_a_thread(lambda: bench.run(job_id))
    assert held.held.wait(60)
    (work,) = bench.at_work()
    assert len(list(work.rglob("*.safetensors"))) == 1
    stop_once(bench, thread, held)
    assert bench.job(job_id).state is State.QUEUED
    assert own_commits(hub, job_id) == []
    points = told(bench, job_id, "perplexity")

    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert len(own_commits(hub, job_id)) == 1
    # What was pruned was not pruned again, and is told again with the attempt that published it.
    assert told(bench, job_id, "perplexity") == points * 2
    stages = [data["stage"] for data in told(bench, job_id, "stage")]
    assert stages[-1] == "publishing"
    assert len(told(bench, job_id, "destination")) == 1


def test_a_child_that_is_killed_behind_its_commit_is_followed_by_one_that_finds_it(
    bench: Bench, hub: Hub, tiny_llama: Path
) -> None:
    read = hub.faults.plant(Fault("GET", "/resolve/", hold=True))
    job_id = bench.submit(tiny_llama, destination=to_the_hub())
    thread = in_a_thread(lambda: bench.run(job_id))
    eventually(lambda: hub.repositories and own_commits(hub, job_id), seconds=60)
    stop_once(bench, thread, read)
    (commit,) = own_commits(hub, job_id)
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.artifact is not None, job.error
    assert job.artifact["revision"] == commit.id
    assert own_commits(hub, job_id) == [commit]


def test_a_job_that_is_cancelled_behind_its_commit_says_which_that_is(
    bench: Bench, hub: Hub, tiny_llama: Path
) -> None:
    hub.faults.plant(Fault("GET", "/resolve/", hold=True))
    job_id = bench.submit(tiny_llama, destination=to_the_hub())
    thread = in_a_thread(lambda: bench.run(job_id))
    eventually(lambda: hub.repositories and own_commits(hub, job_id), seconds=60)
    store.request_cancel(bench.engine, job_id)
    thread.join(30)
    assert bench.job(job_id).state is State.CANCELLED
    (commit,) = own_commits(hub, job_id)
    assert [data["revision"] for data in told(bench, job_id, "published")] == [commit.id]


def test_a_repository_that_changes_between_two_attempts_is_not_overwritten(
    bench: Bench, hub: Hub, tiny_llama: Path
) -> None:
    held = hub.faults.plant(Fault("PUT", WEIGHTS, hold=True))
    job_id = bench.submit(tiny_llama, destination=to_the_hub())
    thread = in_a_thread(lambda: bench.run(job_id))
    assert held.held.wait(60)
    stop_once(bench, thread, held)
    changed = hub.seed("team/smaller", **{"config.json": "somebody's"})
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.error is not None
    assert job.error["type"] == "/problems/hub-repository-changed"
    (parent,) = (data["parent_commit"] for data in told(bench, job_id, "destination"))
    assert parent in job.error["detail"]
    assert changed in job.error["detail"]
    assert hub.repositories["team/smaller"].resolve("main").id == changed
    # Hours of work are not thrown away for that.
    (kept,) = (bench.settings.registry_root / "unpublished").glob("*/*")
    assert f"{kept}." in job.error["detail"]
    assert (kept / "model.safetensors").exists()
    assert bench.published() == bench.staged() == bench.at_work() == []


def perplexity(model: Any, tokenizer: Any) -> float:
    """The plain way, on the windows that the job measured."""
    from pruning_core.text_source import find_text

    text = find_text("evaluation.dataset", "builtin", "evaluation", ()).read()
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids[0, :128].view(2, 64)
    with torch.no_grad():
        logits = model(ids).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    return float(losses.exp())
