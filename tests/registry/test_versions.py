"""A model has versions; what they share is there once, and users name them."""

import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.catalog import LocalCatalog, list_models
from registry.local import LocalArtifact, LocalRegistry
from registry.manifest import MANIFEST_NAME, Manifest
from registry.names import is_model_name, is_tag
from registry.reading import Model, find_model
from registry.tags import list_tags, remove_tag, set_tag
from tests.registry.conftest import JOB, NAME, OTHER_JOB, findings, stage

MODEL = "team/smaller"
WEIGHTS = Path("deeper") / "model.safetensors"


def publish(
    registry: LocalRegistry, job_id: str = JOB, name: str = MODEL, content: str = "w"
) -> LocalArtifact:
    stage(registry, job_id, content)
    return registry.publish(job_id, job_id, name)


def find(registry: LocalRegistry, name: str = MODEL) -> Model:
    model = find_model(registry.root, name)
    assert model is not None
    return model


def bytes_on_disk(folder: Path) -> int:
    inodes = {
        (found.st_ino, found.st_size)
        for found in (path.stat() for path in folder.rglob("*") if path.is_file())
    }
    return sum(size for _, size in inodes)


def test_a_second_job_makes_a_newer_version_and_changes_nothing_of_the_first(registry: LocalRegistry) -> None:
    first = publish(registry, content="first")
    before = {path: path.read_bytes() for path in Path(first.location).rglob("*") if path.is_file()}
    second = publish(registry, OTHER_JOB, content="second")
    assert {path: path.read_bytes() for path in before} == before
    assert [version.commit for version in find(registry).versions] == [second.commit, first.commit]
    assert find(registry).at("main") == find(registry).at("latest") == find(registry).at(second.commit)


def test_versions_are_in_the_order_they_were_published_in_by_clocks_that_differ(
    registry: LocalRegistry,
) -> None:
    publish(registry)
    folder = registry.layout.version(MODEL, JOB)
    manifest, _ = Manifest.read(folder)
    # By a machine whose clock is fast.
    for path in folder.glob("manifest*"):
        path.chmod(0o644)
    manifest.model_copy(update={"published_at": datetime.now(UTC) + timedelta(days=1)}).write(folder)
    second = publish(registry, OTHER_JOB)
    assert find(registry).versions[0].commit == second.commit


def test_what_versions_share_is_on_the_disk_once(registry: LocalRegistry) -> None:
    large = "same" * 100_000
    first = Path(publish(registry, content=large).location)
    before = bytes_on_disk(registry.root)
    second = Path(publish(registry, OTHER_JOB, content=large).location)
    other = Path(publish(registry, OTHER_JOB, "another/model", content=large).location)
    for path in (WEIGHTS, Path("config.json")):
        assert (first / path).samefile(second / path)
        assert (first / path).samefile(other / path)
    assert bytes_on_disk(registry.root) - before < 3000
    assert findings(registry) == []


def test_files_of_one_version_share_as_well(registry: LocalRegistry) -> None:
    (stage(registry) / "copy.json").write_text("{}")
    folder = Path(registry.publish(JOB, JOB, MODEL).location)
    assert (folder / "copy.json").samefile(folder / "config.json")
    assert findings(registry) == []


def test_content_that_rotted_is_not_shared(registry: LocalRegistry) -> None:
    first = Path(publish(registry, content="weights").location)
    (first / WEIGHTS).chmod(0o644)
    (first / WEIGHTS).write_text("weightz")
    second = Path(publish(registry, OTHER_JOB, content="weights").location)
    third = Path(publish(registry, JOB, "another/model", content="weights").location)
    assert (second / WEIGHTS).read_text() == "weights"
    assert (second / WEIGHTS).samefile(third / WEIGHTS)
    assert [finding.version for finding in findings(registry)] == [first]


def test_without_hard_links_each_version_has_a_copy(
    registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        # What the system says on FAT.
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = (Path(publish(registry, job_id).location) for job_id in (JOB, OTHER_JOB))
    assert not (first / WEIGHTS).samefile(second / WEIGHTS)
    assert findings(registry) == []
    registry.withdraw(JOB, JOB, MODEL)
    assert (second / WEIGHTS).read_text() == "w"


def test_a_full_disk_is_not_taken_for_one_without_hard_links(
    registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space left"):
        publish(registry)
    assert find_model(registry.root, MODEL) is None


def test_what_is_withdrawn_takes_only_its_own(registry: LocalRegistry) -> None:
    publish(registry, content="mine")
    stays = Path(publish(registry, OTHER_JOB, content="yours").location)
    registry.withdraw(JOB, JOB, MODEL)
    assert [version.folder for version in find(registry).versions] == [stays]
    assert findings(registry) == []
    assert all(blob.stat().st_nlink > 1 for blob in registry.layout.blobs.iterdir())
    registry.withdraw(OTHER_JOB, OTHER_JOB, MODEL)
    assert list(registry.layout.blobs.iterdir()) == []
    assert not (registry.root / MODEL).exists()


def test_nobody_may_write_to_what_is_published(registry: LocalRegistry) -> None:
    folder = Path(publish(registry).location)
    for path in [*folder.rglob("*"), *registry.layout.blobs.iterdir()]:
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_a_version_is_found_by_all_its_names_and_no_other(registry: LocalRegistry) -> None:
    first, second = publish(registry), publish(registry, OTHER_JOB)
    set_tag(registry.layout, MODEL, "v1", first.commit)
    model = find(registry)
    for name in ("v1", first.commit, first.commit[:7]):
        assert model.at(name) == model.versions[1]
    for name in ("v2", first.commit[:6], first.commit.upper(), first.commit + "0", "", "refs/heads/main"):
        assert model.at(name) is None
    assert model.tags_of(model.versions[1]) == ["v1"]
    set_tag(registry.layout, MODEL, "v1", second.commit)
    assert find(registry).at("v1") == find(registry).at("main")
    remove_tag(registry.layout, MODEL, "v1")
    assert find(registry).at("v1") is None
    assert list_tags(registry.layout, MODEL) == {}


def test_digits_that_two_commits_begin_with_are_none(registry: LocalRegistry) -> None:
    publish(registry)
    # The very same manifest, as if somebody had copied the folder.
    folder = registry.layout.version(MODEL, JOB)
    shutil.copytree(folder, folder.with_name(OTHER_JOB))
    model = find(registry)
    assert model.at(model.versions[0].commit[:7]) is None
    assert model.at("main") is not None


@pytest.mark.parametrize("tag", ["v1", "1.0", "2026-01-02", "Stable_2", "abc", "face", "deadbee-1"])
def test_what_may_be_a_tag(tag: str) -> None:
    assert is_tag(tag)


@pytest.mark.parametrize(
    "tag", ["main", "latest", "", ".x", "-x", "a/b", "a b", "x" * 97, "deadbee", "0" * 40, "v1\n", "é"]
)
def test_what_is_no_tag(tag: str) -> None:
    assert not is_tag(tag)


@pytest.mark.parametrize(
    "name",
    ["x", "a/b/c", "/b", "a/", ".a/b", "a/.b", "a/..", "a--b/c", "a/b.git", "é/b", "a/" + "b" * 97, "a/b\n"],
)
def test_what_is_no_name_of_a_model(name: str) -> None:
    assert not is_model_name(name)


def test_a_checkpoint_of_an_earlier_layout_is_passed_over(registry: LocalRegistry) -> None:
    old = registry.root / NAME
    (old / "deeper").mkdir(parents=True)
    (old / MANIFEST_NAME).write_text('{"name": "pruned/old", "job_id": "x", "files": []}')
    assert list(list_models(LocalCatalog(registry.root))) == []
    assert find_model(registry.root, NAME) is None
    assert findings(registry) == []
    publish(registry, name=NAME)
    assert len(find(registry, NAME).versions) == 1


def test_where_no_registry_is_nothing_is_found(tmp_path: Path) -> None:
    assert list(list_models(LocalCatalog(tmp_path / "nowhere"))) == []
    assert find_model(tmp_path / "nowhere", MODEL) is None
