"""Versions in an object store are tagged, deleted, verified, and their garbage is collected."""

import hashlib
from datetime import timedelta

import pytest

from registry.manifest import DamagedManifestError
from registry.objects.catalog import ObjectCatalog
from registry.objects.registry import ObjectRegistry
from registry.reading import Model
from registry.verifying import Finding
from tests.object_store import Bucket
from tests.registry.conftest import JOB, OTHER_JOB
from tests.registry.objects.conftest import MODEL, publish

A_DAY = timedelta(hours=25)


def find(catalog: ObjectCatalog) -> Model:
    model = catalog.find(MODEL)
    assert model is not None
    return model


def findings(catalog: ObjectCatalog) -> list[Finding]:
    return list(catalog.verification().verify(MODEL))


def test_a_tag_is_a_version_until_it_is_taken_away(registry: ObjectRegistry, catalog: ObjectCatalog) -> None:
    first, second = publish(registry), publish(registry, OTHER_JOB)
    catalog.set_tag(MODEL, "stable", first.commit)
    assert find(catalog).at("stable") == find(catalog).at(first.commit)
    catalog.set_tag(MODEL, "stable", second.commit)
    assert find(catalog).at("stable") == find(catalog).at("main")
    catalog.remove_tag(MODEL, "stable")
    catalog.remove_tag(MODEL, "stable")
    assert find(catalog).at("stable") is None


def test_a_deleted_version_leaves_a_tombstone_and_what_it_shares(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket
) -> None:
    first, second = publish(registry), publish(registry, OTHER_JOB, content="of its own")
    catalog.delete(MODEL, find(catalog).at(first.commit), "somebody", "a mistake")
    assert [version.commit for version in find(catalog).versions] == [second.commit]
    tombstone = find(catalog).deleted_at(first.commit)
    assert tombstone is not None
    assert (tombstone.deleted_by, tombstone.reason) == ("somebody", "a mistake")
    assert catalog.collect_garbage() == 0
    bucket.make_older(A_DAY)
    assert catalog.collect_garbage() == len("weights")
    assert sorted(bucket.listed("blobs/")) == sorted(f"blobs/{file.sha256}" for file in second.files)
    assert findings(catalog) == []


def test_a_blob_is_kept_while_its_manifest_may_be_on_its_way(catalog: ObjectCatalog, bucket: Bucket) -> None:
    bucket.write("blobs/" + "0" * 64, b"uploaded")
    bucket.make_older(timedelta(hours=23))
    assert catalog.collect_garbage() == 0
    bucket.make_older(timedelta(hours=2))
    assert catalog.collect_garbage() == len("uploaded")
    assert bucket.listed() == []


def test_what_a_deletion_that_was_cut_off_left_is_collected(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket
) -> None:
    publish(registry)
    kept = {key: bucket.read(key) for key in bucket.listed("versions/")}
    catalog.delete(MODEL, find(catalog).versions[0], "somebody", None)
    for key, content in kept.items():
        bucket.write(key, content)
    assert find(catalog).versions == []
    catalog.collect_garbage()
    assert bucket.listed("versions/") == []


def test_any_flipped_bit_is_found(registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket) -> None:
    artifact = publish(registry)
    publish(registry, OTHER_JOB, "another/model")
    paths = {f"blobs/{file.sha256}": file.path for file in artifact.files}
    for key in bucket.listed("blobs/") + bucket.listed(f"versions/{MODEL}/{JOB}/manifest.json"):
        content = bucket.read(key)
        changed = bytes([content[0] ^ 1]) + content[1:]
        bucket.write(key, changed)
        (finding,) = findings(catalog)
        digest = hashlib.sha256 if key in paths else hashlib.sha1
        assert finding == Finding(
            artifact.location,
            paths.get(key, "manifest.json"),
            digest(content).hexdigest(),
            digest(changed).hexdigest(),
        )
        bucket.write(key, content)
    assert findings(catalog) == []


def test_what_is_missing_or_too_many_is_found(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket
) -> None:
    artifact = publish(registry)
    bucket.remove(f"blobs/{artifact.files[0].sha256}")
    bucket.write(f"versions/{MODEL}/{JOB}/more.bin", b"more")
    assert [(each.path, each.found) for each in findings(catalog)] == [
        ("more.bin", "there"),
        ("config.json", "missing"),
    ]


def test_content_that_versions_share_is_read_once(registry: ObjectRegistry, catalog: ObjectCatalog) -> None:
    artifact = publish(registry)
    publish(registry, OTHER_JOB)
    verification = catalog.verification()
    assert list(verification.verify(MODEL)) == []
    assert (verification.versions, verification.bytes) == (2, artifact.bytes)


def test_while_a_manifest_is_damaged_nothing_is_collected(
    registry: ObjectRegistry, catalog: ObjectCatalog, bucket: Bucket
) -> None:
    publish(registry)
    bucket.write(f"versions/{MODEL}/{JOB}/manifest.json", b"{}")
    bucket.make_older(A_DAY)
    before = bucket.listed()
    with pytest.raises(DamagedManifestError):
        catalog.collect_garbage()
    assert bucket.listed() == before
    assert catalog.find(MODEL) is None
