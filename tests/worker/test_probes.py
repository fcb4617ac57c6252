"""What a worker answers when it is asked how it is."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from sqlalchemy import Engine, make_url

from jobs.settings import Settings
from jobs.states import State
from migrations import downgrade, upgrade
from tests.conftest import PostgresServer
from tests.exposition import Scrape, documented
from tests.worker import crew as crews
from tests.worker.conftest import Bench, eventually
from tests.worker.crew import Crew
from worker.metrics import WorkerMetrics
from worker.probes import Probes, serve

READY = {"worker": "ok", "database": "ok", "broker": "ok"}


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def crew(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path, models: Path, port: int
) -> Iterator[Crew]:
    """A worker that answers, and a reconciler that leaves the same port alone."""
    settings = Settings(
        database_url=database_url,
        redis_url=broker_url,
        data_dir=tmp_path / "data",
        local_roots=(models,),
        metrics_port=port,
    )
    with crews.running(engine, settings, workers=1) as crew:
        yield crew


def request(model: Path) -> dict[str, Any]:
    return {
        "model": {"id": str(model), "revision": None},
        "method": "osscar",
        "ratio": 0.5,
        "options": {},
        "calibration": {"dataset": "builtin", "samples": 8, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "destination": {"kind": "local"},
    }


def test_a_worker_tells_of_its_jobs_and_whether_it_can_have_more(
    crew: Crew, client: httpx.Client, server: PostgresServer, tiny_llama: Path
) -> None:
    assert client.get("/readyz").json() == READY
    job = crew.finish(crew.submit(request(tiny_llama)))
    assert job.state is State.SUCCEEDED, job.error

    def finished() -> bool:
        return 'outcome="succeeded"' in client.get("/metrics").text

    eventually(finished)
    seen = Scrape(client.get("/metrics").text)
    assert seen.value("secateur_worker_jobs_total", outcome="succeeded", method="osscar") == 1
    # Two evaluations of two windows are the least that went through every layer.
    assert seen.value("secateur_worker_layer_tokens_total", method="osscar") >= 2 * 2 * 64 * layers_of(
        tiny_llama
    )
    assert seen.value("secateur_worker_job_peak_bytes", memory="host") > 100_000_000
    assert seen.labels("secateur_worker_job_peak_bytes") == [{"memory": "host"}]
    assert seen.value("secateur_worker_renewal_age_seconds") == 0
    for stage in ("loading", "pruning", "publishing"):
        assert seen.value("secateur_worker_stage_seconds_count", stage=stage, method="osscar") == 1
    assert seen.value("secateur_worker_stage_seconds_count", stage="evaluating", method="osscar") == 2

    downgrade(crew.settings.database_url, "0001")
    assert client.get("/readyz").status_code == 503
    assert "is at revision 0001" in client.get("/readyz").json()["detail"]
    upgrade(crew.settings.database_url)
    assert client.get("/readyz").status_code == 200

    name = make_url(crew.settings.database_url).database
    server.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname ~ '^test_'")
    server.execute(f'alter database "{name}" rename to "{name}_away"')
    away = client.get("/readyz")
    server.execute(f'alter database "{name}_away" rename to "{name}"')
    assert (away.status_code, away.json()) == (503, READY | {"database": "unreachable"})


def layers_of(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text())["num_hidden_layers"])


def test_a_worker_that_shuts_down_says_so_and_counts_what_it_gave_back(
    bench: Bench, slow_llama: Path, port: int, client: httpx.Client
) -> None:
    serve(Probes(bench.workplace, lambda: True), "127.0.0.1", port)
    job_id = bench.submit(slow_llama, samples=600)
    with bench.running(job_id):
        assert client.get("/readyz").json() == READY
        age = Scrape(client.get("/metrics").text).value("secateur_worker_renewal_age_seconds")
        assert 0 < age < bench.settings.lease_seconds
        bench.workplace.stopping.set()
        stopping = client.get("/readyz")
    assert (stopping.status_code, stopping.json()) == (503, READY | {"worker": "stopping"})
    assert bench.ended("handed_back") == 1
    assert client.get("/").status_code == 404


def test_a_worker_whose_port_is_taken_does_not_start_and_says_why(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own = {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "SECATEUR_METRICS_PORT": str(port),
        }
        done = subprocess.run(
            [*crews.WORKER, "--queues", "jobs", *crews.QUEUES["jobs"]],
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert (
        f"SECATEUR_METRICS_PORT: nobody can listen on 127.0.0.1, port {port}: Address already in use."
        in done.stderr
    )


def test_the_page_lists_every_metric_of_a_worker_as_it_is() -> None:
    seen = Scrape(generate_latest(WorkerMetrics().registry).decode())
    assert seen.described() == documented("metric of a worker")
