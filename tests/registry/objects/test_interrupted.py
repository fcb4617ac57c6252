"""Whoever is killed, before whatever change of the store: versions are whole or absent, and the next one goes on."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from registry.local import LocalRegistry
from registry.objects.catalog import ObjectCatalog
from registry.objects.registry import ObjectRegistry
from registry.objects.store import ObjectStore
from tests.object_store import Bucket
from tests.registry.conftest import JOB, OTHER_JOB
from tests.registry.objects.conftest import MODEL, publish

LONG_AGO = timedelta(days=2)


def killed_at_each_step(scene: str, bucket: Bucket, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "tests.registry.objects.killed", scene, bucket.url, str(folder)]
    subprocess.run(command, check=True)
    return sorted({key.split("/")[0] for key in bucket.listed()}, key=int)


def jobs_of(catalog: ObjectCatalog) -> set[str]:
    model = catalog.find(MODEL)
    assert model is not None
    return {version.job_id for version in model.versions}


def test_a_publisher_leaves_a_whole_version_or_blobs_that_are_collected(
    bucket: Bucket, tmp_path: Path
) -> None:
    seen = []
    for step in killed_at_each_step("publish", bucket, tmp_path):
        store = ObjectStore.at(f"{bucket.url}/{step}")
        catalog = ObjectCatalog(store)
        assert list(catalog.verification().verify(MODEL)) == []
        seen.append(JOB in jobs_of(catalog))
        bucket.make_older(LONG_AGO, f"{step}/")
        catalog.collect_garbage()
        assert len(bucket.listed(f"{step}/blobs/")) == 2 + seen[-1]
        assert len(bucket.listed(f"{step}/versions/")) == 2 + 2 * seen[-1]
        publish(ObjectRegistry(store, LocalRegistry(tmp_path / "again")), content=JOB)
        assert jobs_of(catalog) == {JOB, OTHER_JOB}
        assert list(catalog.verification().verify(MODEL)) == []
    # Before the blob of its own, before what tells the commit, before the manifest, and not at all.
    assert seen == [False, False, False, True]


def test_what_was_to_be_deleted_is_whole_or_gone(bucket: Bucket, tmp_path: Path) -> None:
    seen = []
    for step in killed_at_each_step("delete", bucket, tmp_path):
        catalog = ObjectCatalog(ObjectStore.at(f"{bucket.url}/{step}"))
        assert list(catalog.verification().verify(MODEL)) == []
        seen.append(JOB in jobs_of(catalog))
        bucket.make_older(LONG_AGO, f"{step}/")
        catalog.collect_garbage()
        assert len(bucket.listed(f"{step}/blobs/")) == 2 + seen[-1]
        assert len(bucket.listed(f"{step}/versions/")) == 2 + 2 * seen[-1]
        assert list(catalog.verification().verify(MODEL)) == []
    assert seen == [True, False, False, False]
