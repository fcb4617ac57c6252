"""What is deleted is gone for everybody, stays known, and does not come back."""

import shutil
import threading
from pathlib import Path

import pytest

from registry.catalog import LocalCatalog, list_models
from registry.deleting import collect_garbage, delete_version
from registry.local import DeletedError, LocalRegistry
from registry.reading import find_model
from registry.tags import set_tag
from registry.tombstones import Tombstone
from tests.registry.conftest import JOB, NAME, OTHER_JOB, findings, stage


def publish(registry: LocalRegistry, job_id: str = JOB, content: str = "weights") -> Path:
    stage(registry, job_id, content)
    return Path(registry.publish(job_id, job_id, NAME).location)


def delete_newest(registry: LocalRegistry) -> tuple[Tombstone, int]:
    model = find_model(registry.root, NAME)
    assert model is not None
    return delete_version(registry, NAME, model.versions[0], "olga", "trained on the wrong text")


def test_a_version_that_was_deleted_is_known_to_have_been(registry: LocalRegistry) -> None:
    publish(registry, content="first")
    second = publish(registry, OTHER_JOB, content="second one")
    tombstone, freed = delete_newest(registry)
    assert not second.exists()
    assert freed == len("second one")
    model = find_model(registry.root, NAME)
    assert model is not None
    assert [version.folder.name for version in model.versions] == [JOB]
    set_tag(registry.layout, NAME, "v2", tombstone.commit)
    for revision in (tombstone.commit, tombstone.commit[:7]):
        assert model.at(revision) is None
        assert model.deleted_at(revision) == tombstone
    model = find_model(registry.root, NAME)
    assert model is not None
    assert model.deleted_at("v2") == tombstone
    # There is another newest version.
    assert model.deleted_at("main") is None
    assert str(tombstone).endswith("by olga: trained on the wrong text")
    assert findings(registry) == []


def test_a_model_without_versions_is_not_listed_and_not_forgotten(registry: LocalRegistry) -> None:
    publish(registry)
    tombstone, _ = delete_newest(registry)
    assert list(list_models(LocalCatalog(registry.root))) == []
    assert not (registry.root / NAME).exists()
    model = find_model(registry.root, NAME)
    assert model is not None
    assert model.deleted_at("main") == tombstone
    publish(registry, OTHER_JOB)
    assert len(list(list_models(LocalCatalog(registry.root)))) == 1


def test_what_was_deleted_is_not_published_again_by_its_job(registry: LocalRegistry) -> None:
    publish(registry)
    delete_newest(registry)
    stage(registry)
    with pytest.raises(DeletedError, match=JOB):
        registry.publish(JOB, JOB, NAME)
    assert list(list_models(LocalCatalog(registry.root))) == []
    registry.withdraw(JOB, JOB, NAME)
    registry.discard(JOB)
    assert list(registry.layout.blobs.iterdir()) == []


def test_a_deletion_in_the_midst_of_a_second_publishing_wins(
    registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(registry, "late")

    def published_and_deleted_meanwhile(_: Path) -> None:
        monkeypatch.undo()
        publish(registry)
        delete_newest(registry)

    monkeypatch.setattr("registry.local.sync_tree", published_and_deleted_meanwhile)
    with pytest.raises(DeletedError):
        registry.publish("late", JOB, NAME)
    assert list(list_models(LocalCatalog(registry.root))) == []
    collect_garbage(registry)
    assert not (registry.root / NAME).exists()
    assert list(registry.layout.blobs.iterdir()) == []


def test_a_tombstone_that_cannot_be_read_still_is_one(registry: LocalRegistry) -> None:
    publish(registry)
    tombstone = registry.layout.tombstone(NAME, JOB)
    tombstone.parent.mkdir(parents=True)
    tombstone.write_text("{")
    assert list(list_models(LocalCatalog(registry.root))) == []
    stage(registry)
    with pytest.raises(DeletedError):
        registry.publish(JOB, JOB, NAME)


def test_garbage_is_what_no_version_has(registry: LocalRegistry) -> None:
    gone, stays = publish(registry, content="gone"), publish(registry, OTHER_JOB, content="stays")
    assert collect_garbage(registry) == 0
    # By hand, past all that is written here.
    shutil.rmtree(gone)
    assert collect_garbage(registry) == len("gone")
    assert {blob.stat().st_nlink for blob in registry.layout.blobs.iterdir()} == {2}
    assert (stays / "deeper" / "model.safetensors").read_text() == "stays"
    assert findings(registry) == []


def test_what_is_staged_is_no_garbage(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(registry)
    monkeypatch.setattr("registry.local.sync_tree", lambda _: collect_garbage(registry))
    registry.publish(JOB, JOB, NAME)
    assert len(list(registry.layout.blobs.iterdir())) == 2
    assert findings(registry) == []


def test_garbage_is_collected_beside_publishers_and_deletions(registry: LocalRegistry) -> None:
    """All with the same content, so that blobs come and go under the hands of those who share them."""
    over, errors = threading.Event(), []

    def churn(number: int) -> None:
        try:
            for attempt in range(15):
                job_id = f"{number:08d}-0000-4000-8000-{attempt:012d}"
                folder = publish(registry, job_id)
                assert (folder / "deeper" / "model.safetensors").read_text() == "weights"
                if attempt:
                    registry.withdraw(job_id, job_id, NAME)
        except Exception as error:  # noqa: BLE001  told below
            errors.append(error)

    def collect() -> None:
        try:
            while not over.is_set():
                collect_garbage(registry)
        except Exception as error:  # noqa: BLE001  told below
            errors.append(error)

    collector = threading.Thread(target=collect)
    publishers = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in (collector, *publishers):
        thread.start()
    for thread in publishers:
        thread.join()
    over.set()
    collector.join()
    assert errors == []
    model = find_model(registry.root, NAME)
    assert model is not None
    assert len(model.versions) == 4
    assert findings(registry) == []
    collect_garbage(registry)
    assert list(registry.staging_root.iterdir()) == []
    assert all(blob.stat().st_nlink > 1 for blob in registry.layout.blobs.iterdir())
