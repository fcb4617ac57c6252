"""A checkpoint is published to a real S3 server: whole or not at all, and once."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from registry.local import DeletedError, GivenUpError, LocalRegistry, NameTakenError, NotWritableError
from registry.manifest import commit_of
from registry.objects.catalog import ObjectCatalog
from registry.objects.registry import ObjectRegistry
from registry.objects.store import ObjectStore
from tests.object_store import Bucket
from tests.registry.conftest import JOB, OTHER_JOB, stage
from tests.registry.objects.conftest import MODEL, publish


def test_what_is_where(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket, tmp_path: Path
) -> None:
    artifact = publish(registry)
    place = f"versions/{MODEL}/{JOB}"
    assert artifact.location == f"{bucket.url}/{place}"
    assert sorted(bucket.listed()) == sorted(
        [
            *(f"blobs/{file.sha256}" for file in artifact.files),
            f"{place}/manifest.json",
            f"{place}/manifest.{artifact.commit}.sha1",
        ]
    )
    assert commit_of(bucket.read(f"{place}/manifest.json")) == artifact.commit
    assert all(
        hashlib.sha256(bucket.read(f"blobs/{file.sha256}")).hexdigest() == file.sha256
        for file in artifact.files
    )
    model = catalog.find(MODEL)
    assert model is not None
    assert model.versions[0].commit == artifact.commit
    assert model.versions[0].location == artifact.location
    assert registry.claims() == []


def test_a_second_job_makes_a_newer_version_and_uploads_nothing_that_is_there(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket
) -> None:
    first = publish(registry)
    bucket.make_older(timedelta(hours=1))
    before = {key: bucket.written_at(key) for key in bucket.listed()}
    second = publish(registry, OTHER_JOB)
    other = publish(registry, OTHER_JOB, "another/model", "of its own")
    assert {key: bucket.written_at(key) for key in before} == before
    assert len(bucket.listed("blobs/")) == 3
    model = catalog.find(MODEL)
    assert model is not None
    assert [version.commit for version in model.versions] == [second.commit, first.commit]
    assert catalog.names() == ["another/model", MODEL]
    assert other.commit not in (first.commit, second.commit)


def test_a_blob_that_could_be_collected_or_is_not_whole_is_uploaded_again(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket
) -> None:
    first = publish(registry)
    config, weights = (f"blobs/{file.sha256}" for file in first.files)
    bucket.write(weights, b"half")
    bucket.make_older(timedelta(hours=13), config)
    before = bucket.written_at(config)
    publish(registry, OTHER_JOB)
    assert bucket.read(weights) == b"weights"
    assert bucket.written_at(config) - before > 12 * 3600
    assert list(catalog.verification().verify(MODEL)) == []


def test_a_job_publishes_once(registry: ObjectRegistry, bucket: Bucket) -> None:
    first = publish(registry)
    assert publish(registry, content="of another attempt") == first
    assert len(bucket.listed("blobs/")) == 2
    assert registry.claims() == []


def test_of_two_claims_that_publish_at_once_the_first_wins(bucket: Bucket, tmp_path: Path) -> None:
    quick = ObjectRegistry(ObjectStore.at(bucket.url), LocalRegistry(tmp_path / "quick"))
    published = []

    class Overtaken(ObjectStore):
        def create(self, key: str, content: bytes) -> None:
            published.append(publish(quick, content="of the quick one"))
            super().create(key, content)

    late = ObjectRegistry(Overtaken.at(bucket.url), LocalRegistry(tmp_path / "late"))
    assert publish(late, content="of the late one") == published[0]
    catalog = ObjectCatalog(ObjectStore.at(bucket.url))
    model = catalog.find(MODEL)
    assert model is not None
    assert [version.commit for version in model.versions] == [published[0].commit]
    assert list(catalog.verification().verify(MODEL)) == []


def test_a_blob_that_is_collected_while_it_is_relied_on_is_uploaded_again(
    bucket: Bucket, tmp_path: Path
) -> None:
    class Collected(ObjectStore):
        def create(self, key: str, content: bytes) -> None:
            for blob in bucket.listed("blobs/"):
                bucket.remove(blob)
            super().create(key, content)

    publish(ObjectRegistry(Collected.at(bucket.url), LocalRegistry(tmp_path)))
    assert list(ObjectCatalog(ObjectStore.at(bucket.url)).verification().verify(MODEL)) == []


def test_what_was_discarded_is_not_published(registry: ObjectRegistry, bucket: Bucket) -> None:
    stage(registry)
    registry.discard(JOB)
    with pytest.raises(GivenUpError):
        registry.publish(JOB, JOB, MODEL)
    assert bucket.listed() == []


def test_something_else_in_the_place_is_left_there(registry: ObjectRegistry, bucket: Bucket) -> None:
    bucket.write(f"versions/{MODEL}/{JOB}/manifest.json", b"{}")
    with pytest.raises(NameTakenError, match="something else at s3://"):
        publish(registry)
    assert bucket.read(f"versions/{MODEL}/{JOB}/manifest.json") == b"{}"


def test_what_was_deleted_is_not_published_again(registry: ObjectRegistry, catalog: ObjectCatalog) -> None:
    publish(registry)
    model = catalog.find(MODEL)
    assert model is not None
    catalog.delete(MODEL, model.versions[0], "somebody", None)
    with pytest.raises(DeletedError):
        publish(registry)


def test_a_version_whose_job_failed_is_withdrawn(registry: ObjectRegistry, catalog: ObjectCatalog) -> None:
    publish(registry)
    registry.withdraw(JOB, JOB, MODEL)
    registry.withdraw(JOB, JOB, MODEL)
    assert catalog.find(MODEL) is None
    assert catalog.names() == []


def test_a_store_that_is_away_for_a_while_is_tried_again(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.objects.registry.WAITS_SECONDS", (0.0, 0.0))
    failures = [ConnectionError("away"), TimeoutError("away")]

    class Away(ObjectStore):
        def upload(self, path: Path, key: str) -> None:
            if failures:
                raise failures.pop()
            super().upload(path, key)

    artifact = publish(ObjectRegistry(Away.at(bucket.url), LocalRegistry(tmp_path)))
    assert artifact.bytes == len("{}weights")
    assert failures == []


def test_a_bucket_that_is_not_there_is_said_before_a_job_begins(tmp_path: Path) -> None:
    registry = ObjectRegistry(ObjectStore.at("s3://no-such-bucket/prefix"), LocalRegistry(tmp_path))
    with pytest.raises(NotWritableError, match=r"s3://no-such-bucket/prefix cannot be written to .*bucket"):
        registry.require_writable()
