"""A registry in a bucket of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.local import LocalArtifact, LocalRegistry
from registry.objects.catalog import ObjectCatalog
from registry.objects.registry import ObjectRegistry
from registry.objects.store import ObjectStore
from tests.object_store import Bucket, running_object_store
from tests.registry.conftest import JOB, stage

MODEL = "team/smaller"


@pytest.fixture(scope="module", autouse=True)
def object_store() -> Iterator[None]:
    with running_object_store():
        yield


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def store(bucket: Bucket) -> ObjectStore:
    return ObjectStore.at(bucket.url)


@pytest.fixture
def registry(store: ObjectStore, tmp_path: Path) -> ObjectRegistry:
    return ObjectRegistry(store, LocalRegistry(tmp_path))


@pytest.fixture
def catalog(store: ObjectStore) -> ObjectCatalog:
    return ObjectCatalog(store)


def publish(
    registry: ObjectRegistry, job_id: str = JOB, name: str = MODEL, content: str = "weights"
) -> LocalArtifact:
    stage(registry, job_id, content)
    return registry.publish(job_id, job_id, name)
