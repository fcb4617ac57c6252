"""Whoever is killed, at whatever step: versions are whole or absent, and the next one is not disturbed."""

import subprocess
import sys
from pathlib import Path

import pytest

from registry.deleting import collect_garbage
from registry.local import LocalRegistry
from registry.reading import Model, find_model
from tests.registry.conftest import JOB, NAME, OTHER_JOB, findings, stage

FILES = {"config.json", "deeper/model.safetensors"}


def killed_at_each_step(scene: str, folder: Path) -> list[LocalRegistry]:
    subprocess.run([sys.executable, "-m", "tests.registry.killed", scene, str(folder)], check=True)
    steps = sorted(folder.iterdir(), key=lambda step: int(step.name))
    return [LocalRegistry(step) for step in steps]


def jobs_of(model: Model | None) -> set[str]:
    return {version.folder.name for version in model.versions} if model else set()


def require_nothing_left(registry: LocalRegistry) -> None:
    assert list(registry.staging_root.glob("*")) == []
    assert [blob for blob in registry.layout.blobs.glob("*") if blob.stat().st_nlink == 1] == []


@pytest.mark.parametrize("scene", ["publish", "publish what is shared"])
def test_a_publisher_leaves_a_whole_version_or_none(scene: str, tmp_path: Path) -> None:
    seen = []
    for registry in killed_at_each_step(scene, tmp_path):
        assert findings(registry) == []
        seen.append(JOB in jobs_of(find_model(registry.root, NAME)))
        stage(registry)
        artifact = registry.publish(JOB, JOB, NAME)
        assert {file.path for file in artifact.files} == FILES
        assert findings(registry) == []
        require_nothing_left(registry)
    assert len(seen) > 20
    assert seen == sorted(seen)
    assert set(seen) == {True, False}


@pytest.mark.parametrize("scene", ["publish", "publish what is shared"])
def test_what_a_publisher_had_shared_goes_with_what_it_staged(scene: str, tmp_path: Path) -> None:
    for registry in killed_at_each_step(scene, tmp_path):
        registry.discard(JOB)
        require_nothing_left(registry)


@pytest.mark.parametrize("scene", ["delete", "withdraw"])
def test_what_was_to_go_is_whole_or_gone(scene: str, tmp_path: Path) -> None:
    seen = []
    for registry in killed_at_each_step(scene, tmp_path):
        assert findings(registry) == []
        jobs = jobs_of(find_model(registry.root, NAME))
        assert OTHER_JOB in jobs
        seen.append(JOB in jobs)
        collect_garbage(registry)
        require_nothing_left(registry)
        assert registry.layout.version(NAME, JOB).exists() == seen[-1]
        assert findings(registry) == []
    assert len(seen) > 8
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {True, False}


def test_the_garbage_that_one_leaves_the_next_collects(tmp_path: Path) -> None:
    registries = killed_at_each_step("collect", tmp_path)
    assert len(registries) >= 2
    for registry in registries:
        assert findings(registry) == []
        collect_garbage(registry)
        require_nothing_left(registry)
        assert jobs_of(find_model(registry.root, NAME)) == {OTHER_JOB}
        assert findings(registry) == []
