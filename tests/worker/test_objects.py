"""A job whose checkpoint goes to a real S3 server, by the real supervisor and its child."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from jobs import store
from jobs.settings import Settings
from jobs.states import State
from registry.opening import open_catalog, open_registry
from tests.object_store import Bucket, running_object_store
from tests.worker.conftest import Bench
from worker.claim_folders import checkpoint_of, name_of
from worker.forking import ForkServer


@pytest.fixture(scope="module")
def store_and_fork_server() -> Iterator[ForkServer]:
    # Children learn of the store from the environment that their server was started with.
    with running_object_store():
        server = ForkServer()
        yield server
        server.close()


@pytest.fixture
def bucket(store_and_fork_server: ForkServer) -> Bucket:
    return Bucket()


@pytest.fixture
def bench(engine: Engine, settings: Settings, bucket: Bucket, store_and_fork_server: ForkServer) -> Bench:
    in_bucket = settings.model_copy(update={"registry_url": bucket.url})
    return Bench(engine, in_bucket, store_and_fork_server)


def test_a_job_ends_with_a_version_in_the_store(bench: Bench, bucket: Bucket, tiny_llama: Path) -> None:
    job_id = bench.submit(tiny_llama)
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert job.artifact is not None
    name = job.artifact["name"]
    assert job.artifact["location"] == f"{bucket.url}/versions/{name}/{job_id}"
    catalog = open_catalog(bench.settings.registry_root, bucket.url)
    model = catalog.find(name)
    assert model is not None
    assert model.versions[0].commit == job.artifact["commit"]
    assert list(catalog.verification().verify(name)) == []
    assert bench.staged() == []


def test_what_a_job_published_before_it_failed_is_withdrawn(
    bench: Bench, bucket: Bucket, tiny_llama: Path
) -> None:
    job_id = bench.submit(tiny_llama)
    lease = store.claim(bench.engine, job_id, "a-worker", 60)
    assert lease is not None
    name = checkpoint_of(job_id, lease.request)
    registry = open_registry(bench.settings.registry_root, bucket.url)
    (registry.stage(name_of(lease)) / "config.json").write_text("{}")
    registry.publish(name_of(lease), str(job_id), name)
    # He died before he could say so, and what he staged next is what tells of it.
    registry.stage(name_of(lease))
    store.fail(
        bench.engine, lease, {"type": "worker-crashed", "title": "crashed", "status": 500, "detail": ""}
    )
    other = bench.submit(tiny_llama)
    bench.run(other)
    assert bench.job(other).state is State.SUCCEEDED
    catalog = open_catalog(bench.settings.registry_root, bucket.url)
    assert catalog.find(name) is None
    assert bench.staged() == []
