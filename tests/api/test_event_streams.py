"""Jobs followed by server-sent events, over real sockets."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import fastapi.routing
import httpx
import pytest
import uvicorn
from sqlalchemy import Engine, make_url, text

from api.application import create_app
from api.event_feed import PAGE_SIZE
from jobs import store
from jobs.database import connect
from jobs.models import Job
from jobs.settings import Settings
from jobs.store import Event, Lease
from tests.api.conftest import Api, problem_of
from tests.api.event_source import Received, follow
from tests.api.pretend_worker import PretendWorker
from tests.api.running import running_api
from tests.conftest import PostgresServer


def submit(engine: Engine) -> Job:
    labels: dict[str, Any] = {"model": "tiny", "method": "osscar", "ratio": 0.25, "dataset": "builtin"}
    return store.submit(engine, {"model": "tiny"}, **labels).job


def layers(engine: Engine, lease: Lease, numbers: range) -> None:
    store.record(engine, lease, [Event("layer", {"layer": number}) for number in numbers])


def of_rows(received: list[Received]) -> list[Received]:
    return [each for each in received if each.id is not None]


def rows(engine: Engine, job_id: UUID, after_id: int = 0) -> list[Received]:
    """What a stream must say of the rows of the table."""
    return [
        Received(
            event.id,
            event.kind,
            {
                "attempt": event.attempt,
                "at": event.at.isoformat().replace("+00:00", "Z"),
                "data": event.data,
            },
        )
        for event in store.events(engine, job_id, after_id=after_id)
    ]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def shared(module_settings: Settings) -> Iterator[Engine]:
    """The database of the process that all tests here share."""
    engine = connect(module_settings)
    yield engine
    engine.dispose()


@contextmanager
def served(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The app behind real sockets, in a thread: its address, and what it keeps."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", app.state
    finally:
        server.should_exit = True
        thread.join()


def test_each_event_comes_when_it_happens_and_the_last_is_followed_by_the_end(
    running_url: str, shared: Engine
) -> None:
    job, worker = submit(shared), PretendWorker(shared)
    with follow(running_url, job.id) as stream:
        queued = next(stream)
        assert (queued.id, queued.name, queued.data["state"]) == (None, "job", "queued")
        received = [queued]
        lease = worker.start(str(job.id))
        received += [next(stream), next(stream)]
        assert [each.name for each in received[1:]] == ["claimed", "job"]
        worker.report(lease, "progress", fraction=0.4, eta_seconds=30)
        received.append(progressed := next(stream))
        assert (progressed.id, progressed.name) == (None, "job")
        assert progressed.data == {
            "state": "running",
            "stage": "loading",
            "progress": 0.4,
            "eta_seconds": 30,
            "attempt": 1,
            "cancel_requested": False,
            "started_at": progressed.data["started_at"],
            "finished_at": None,
        }
        for number in range(3):
            worker.report(lease, "layer", layer=number)
            # What has not changed of the job is not told again.
            received.append(next(stream))
            assert (received[-1].name, received[-1].data["data"]) == ("layer", {"layer": number})
        store.fail(shared, lease, {"type": "/problems/broken-model"})
        received += [*stream]
    assert [each.name for each in received[-3:]] == ["failed", "job", "end"]
    assert [each.data["state"] for each in received[-2:]] == ["failed", "failed"]
    assert of_rows(received) == rows(shared, job.id)


def test_a_cut_stream_goes_on_without_a_gap_and_without_a_double(running_url: str, shared: Engine) -> None:
    job = submit(shared)
    lease = PretendWorker(shared).start(str(job.id))
    received: list[Received] = []
    for attempt in range(4):
        layers(shared, lease, range(attempt * 3, attempt * 3 + 3))
        with follow(running_url, job.id, received[-1].id if received else None) as stream:
            received += [next(stream), next(stream)]
        assert of_rows(received) == received
    store.fail(shared, lease, {"type": "/problems/broken-model"})
    with follow(running_url, job.id, received[-1].id) as stream:
        received += [*stream]
    assert of_rows(received) == rows(shared, job.id)


def test_a_past_of_many_pages_is_replayed_whole_or_from_anywhere(running_url: str, shared: Engine) -> None:
    job = submit(shared)
    lease = PretendWorker(shared).start(str(job.id))
    # The table ends with a full page, so that the stream cannot know it for the last.
    layers(shared, lease, range(3 * PAGE_SIZE - 2))
    store.fail(shared, lease, {"type": "/problems/broken-model"})
    past = rows(shared, job.id)
    assert len(past) == 3 * PAGE_SIZE
    for last in (None, past[0].id, past[PAGE_SIZE - 1].id, past[-2].id, past[-1].id):
        with follow(running_url, job.id, last) as stream:
            received = [*stream]
        assert of_rows(received) == rows(shared, job.id, last or 0)
        assert [each.name for each in received[-2:]] == ["job", "end"]


@pytest.mark.parametrize("last", ["", "x", "1.5", "-1", "0", str(2**63), "é", "7"])
def test_a_last_event_id_that_is_none_is_refused_by_name(last: str, refusing_api: Api) -> None:
    job = submit(refusing_api.engine)
    headers = {"Last-Event-ID": last.encode()}
    refused = refusing_api.client.get(f"/jobs/{job.id}/events", headers=headers)
    problem = problem_of(refused, 422)
    assert problem["type"] == "/problems/invalid-request"
    assert problem["errors"][0]["field"] == "Last-Event-ID"


def test_the_id_of_another_jobs_event_is_refused(refusing_api: Api) -> None:
    jobs = [submit(refusing_api.engine) for _ in range(2)]
    PretendWorker(refusing_api.engine).start(str(jobs[0].id))
    (claimed,) = store.events(refusing_api.engine, jobs[0].id)
    headers = {"Last-Event-ID": str(claimed.id)}
    problem = problem_of(refusing_api.client.get(f"/jobs/{jobs[1].id}/events", headers=headers), 422)
    assert problem["detail"].startswith("Last-Event-ID: this job has no such event.")


def test_there_is_nothing_to_follow_where_there_is_no_job(refusing_api: Api) -> None:
    job_id = uuid4()
    problem = problem_of(refusing_api.client.get(f"/jobs/{job_id}/events"), 404)
    assert problem["detail"] == f"There is no job {job_id}. GET /jobs lists those there are."


def test_two_hundred_streams_cost_no_connection_each_and_keep_nobody_waiting(
    running_url: str, shared: Engine
) -> None:
    jobs = [submit(shared) for _ in range(4)]
    port = make_url(running_url).port

    async def read(job: Job) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /jobs/{job.id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"event: job")
        return reader, writer

    async def everything() -> list[bytes]:
        streams = await asyncio.gather(*(read(jobs[number % 4]) for number in range(200)))
        with shared.connect() as connection:
            connections = connection.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            )
        assert connections <= 20
        async with httpx.AsyncClient(base_url=running_url, trust_env=False) as client:
            began = time.monotonic()
            assert (await client.get("/jobs")).status_code == 200
            assert time.monotonic() - began < 2
        for job in jobs:
            store.request_cancel(shared, job.id)
        ends = await asyncio.gather(*(reader.readuntil(b"event: end") for reader, _ in streams))
        for _, writer in streams:
            writer.close()
        return ends

    ends = asyncio.run(everything())
    assert sum(b"event: cancelled" in end for end in ends) == 200


def test_a_stop_of_the_process_ends_streams_at_once_and_another_goes_on(
    module_settings: Settings, running_url: str, shared: Engine, tmp_path: Path
) -> None:
    job = submit(shared)
    lease = PretendWorker(shared).start(str(job.id))
    with ExitStack() as streams:
        # This process has no limit for its graceful shutdown: a stream that stays would hold it for ever.
        with running_api(module_settings, tmp_path / "api.log") as url:
            stream = streams.enter_context(follow(url, job.id))
            received = [next(stream), next(stream)]
            told = time.monotonic()
        assert time.monotonic() - told < 4
        assert [*stream] == []
    assert [each.name for each in received] == ["claimed", "job"]
    store.fail(shared, lease, {"type": "/problems/broken-model"})
    with follow(running_url, job.id, received[0].id) as stream:
        received += [*stream]
    assert of_rows(received) == rows(shared, job.id)


def test_a_database_that_goes_away_and_comes_back_costs_a_stream_nothing(
    settings: Settings, engine: Engine, server: PostgresServer
) -> None:
    name = make_url(settings.database_url).database
    job = submit(engine)
    lease = PretendWorker(engine).start(str(job.id))
    with served(settings) as (url, state), follow(url, job.id) as stream:
        received = [next(stream), next(stream)]
        layers(engine, lease, range(2))
        server.execute(f'alter database "{name}" with allow_connections false')
        ours = f"where datname = '{name}'"
        server.execute(f"select pg_terminate_backend(pid, 10000) from pg_stat_activity {ours}")  # noqa: S608  a name of the tests' own
        wait_until(lambda: state.feed._failed)
        server.execute(f'alter database "{name}" with allow_connections true')
        engine.dispose()  # what the pretended worker has in its pool
        layers(engine, lease, range(2, 4))
        store.fail(engine, lease, {"type": "/problems/broken-model"})
        received += [*stream]
    assert of_rows(received) == rows(engine, job.id)


def test_who_goes_away_is_forgotten_and_who_stays_hears_that_the_stream_lives(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.1)
    job = submit(engine)
    with served(settings) as (url, state), httpx.Client(base_url=url, trust_env=False) as client:
        with client.stream("GET", f"/jobs/{job.id}/events") as response:
            lines = response.iter_lines()
            while next(lines) != ": ping":
                pass
            assert len(state.feed._subscriptions) == 1
        wait_until(lambda: not state.feed._subscriptions)
