"""`secateur registry`, on a folder that jobs have published to."""

import getpass
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from registry.local import LocalArtifact, LocalRegistry
from tests.cli.invoking import invoke
from tests.cli.published import JOBS, NAME, publish_two


@pytest.fixture
def published(tmp_path: Path) -> list[LocalArtifact]:
    """Two versions of a model, the older one first."""
    return publish_two(LocalRegistry(tmp_path / "registry"))


def registry(folder: Path, *arguments: str, code: int = 0) -> Result:
    return invoke("registry", *arguments, "--data", str(folder), code=code)


def parsed(folder: Path, *arguments: str, code: int = 0) -> Any:
    return json.loads(registry(folder, *arguments, "--json", code=code).stdout)


def test_models_and_their_versions_are_listed(tmp_path: Path, published: list[LocalArtifact]) -> None:
    older, newer = published
    registry(tmp_path, "tag", f"{NAME}@{older.commit[:7]}", "stable")
    (model,) = parsed(tmp_path, "list")
    assert model["name"] == NAME
    assert [version["commit"] for version in model["versions"]] == [newer.commit, older.commit]
    assert [version["tags"] for version in model["versions"]] == [[], ["stable"]]
    table = registry(tmp_path, "list").stdout
    assert newer.commit[:7] in table
    versions = registry(tmp_path, "show", NAME).stdout
    assert older.commit in versions
    assert "stable" in versions


def test_a_version_is_shown_with_its_files(tmp_path: Path, published: list[LocalArtifact]) -> None:
    older, newer = published
    shown = parsed(tmp_path, "show", f"{NAME}@main")
    assert shown["commit"] == newer.commit
    assert shown["location"] == newer.location
    assert shown["files"] == [file.model_dump() for file in newer.files]
    text = registry(tmp_path, "show", f"{NAME}@{older.commit}").stdout
    assert all(file.sha256 in text for file in older.files)


def test_a_flipped_bit_is_named_with_both_digests(tmp_path: Path, published: list[LocalArtifact]) -> None:
    assert "2 versions" in registry(tmp_path, "verify").stdout
    weights = Path(published[0].location) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_text(JOBS[0].replace("1", "3", 1))
    found = registry(tmp_path, "verify", code=1)
    assert f"{weights}: expected {published[0].files[1].sha256}, found " in found.stderr
    assert "1 file not as published" in found.stdout
    answer = parsed(tmp_path, "verify", NAME, code=1)
    (finding,) = answer["findings"]
    assert (finding["file"], finding["expected"]) == (str(weights), published[0].files[1].sha256)
    assert answer["versions"] == 2


def test_a_model_of_which_no_version_can_be_read_is_verified(
    tmp_path: Path, published: list[LocalArtifact]
) -> None:
    for artifact in published:
        (Path(artifact.location) / "manifest.json").unlink()
    assert len(parsed(tmp_path, "verify", NAME, code=1)["findings"]) == 2


def test_a_tag_is_not_moved_unasked(tmp_path: Path, published: list[LocalArtifact]) -> None:
    older, newer = published
    registry(tmp_path, "tag", f"{NAME}@{older.commit}", "stable")
    registry(tmp_path, "tag", f"{NAME}@stable", "stable")
    assert older.commit in registry(tmp_path, "tag", NAME, "stable", code=2).stderr
    registry(tmp_path, "tag", NAME, "stable", "--move")
    assert parsed(tmp_path, "show", f"{NAME}@stable")["commit"] == newer.commit
    registry(tmp_path, "untag", NAME, "stable")
    assert "'stable'" in registry(tmp_path, "show", f"{NAME}@stable", code=2).stderr
    assert "no such tag" in registry(tmp_path, "untag", NAME, "stable", code=2).stderr


@pytest.mark.parametrize("tag", ["latest", "main", "deadbeef", "a/b", ""])
def test_what_is_no_tag(tmp_path: Path, published: list[LocalArtifact], tag: str) -> None:
    assert f"tag = {tag!r}: a tag has" in registry(tmp_path, "tag", NAME, tag, code=2).stderr


def test_a_deleted_version_is_said_to_be(tmp_path: Path, published: list[LocalArtifact]) -> None:
    older, newer = published
    reason = "trained on [the wrong] text"
    registry(tmp_path, "delete", f"{NAME}@{newer.commit[:9]}", "--yes", "--reason", reason)
    assert not Path(newer.location).exists()
    assert Path(older.location).exists()
    said = f"{NAME} at {newer.commit} was deleted on "
    refused = registry(tmp_path, "show", f"{NAME}@{newer.commit}", code=2).stderr
    assert said in refused
    assert f"by {getpass.getuser()}: {reason}." in refused
    assert reason in registry(tmp_path, "show", NAME).stdout
    (tombstone,) = parsed(tmp_path, "show", NAME)["deleted"]
    assert (tombstone["commit"], tombstone["reason"]) == (newer.commit, reason)
    assert "1 version" in registry(tmp_path, "verify").stdout


def test_a_model_is_deleted_with_all_its_versions(tmp_path: Path, published: list[LocalArtifact]) -> None:
    assert "Aborted" in registry(tmp_path, "delete", NAME, code=1).output
    assert len(parsed(tmp_path, "list")) == 1
    assert "2 versions of team/small deleted" in registry(tmp_path, "delete", NAME, "--yes").stdout
    assert parsed(tmp_path, "list") == []
    assert list((tmp_path / "registry" / ".blobs").iterdir()) == []
    assert "was deleted on" in registry(tmp_path, "delete", NAME, "--yes", code=2).stderr
    assert len(parsed(tmp_path, "show", NAME)["deleted"]) == 2


def test_what_rm_left_is_collected(tmp_path: Path, published: list[LocalArtifact]) -> None:
    shutil.rmtree(published[0].location)
    registry(tmp_path, "gc")
    assert len(list((tmp_path / "registry" / ".blobs").iterdir())) == 2
    assert "1 version" in registry(tmp_path, "verify").stdout


@pytest.mark.parametrize("command", ["show", "verify", "delete"])
def test_what_nobody_published_is_refused(
    tmp_path: Path, published: list[LocalArtifact], command: str
) -> None:
    for name in ("team/other", "../../etc", "team"):
        assert f"name = {name!r}" in registry(tmp_path, command, name, code=2).stderr


def test_where_no_registry_is_the_way_to_one_is_said(tmp_path: Path) -> None:
    assert "--data" in registry(tmp_path, "list", code=2).stderr
    (tmp_path / "registry").mkdir()
    assert registry(tmp_path, "list").stdout == "No models.\n"
    assert parsed(tmp_path, "verify") == {"versions": 0, "bytes": 0, "findings": []}


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 501])
def test_what_is_no_reason(tmp_path: Path, published: list[LocalArtifact], reason: str) -> None:
    assert "one line" in registry(tmp_path, "delete", NAME, "--yes", "--reason", reason, code=2).stderr
