"""`secateur registry …` on a real S3 server, which `SECATEUR_REGISTRY_URL` names."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from registry.local import LocalArtifact
from registry.opening import open_registry
from tests.cli.invoking import invoke
from tests.cli.published import JOBS, NAME, publish_two
from tests.object_store import SECRET, Bucket, running_object_store


@pytest.fixture(scope="module", autouse=True)
def object_store() -> Iterator[None]:
    with running_object_store():
        yield


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket()
    monkeypatch.setenv("SECATEUR_REGISTRY_URL", bucket.url)
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    return bucket


@pytest.fixture
def published(tmp_path: Path, bucket: Bucket) -> list[LocalArtifact]:
    """Two versions of a model, the older one first."""
    return publish_two(open_registry(tmp_path / "registry", bucket.url))


def registry(*arguments: str, code: int = 0) -> Result:
    return invoke("registry", *arguments, code=code)


def parsed(*arguments: str, code: int = 0) -> Any:
    return json.loads(registry(*arguments, "--json", code=code).stdout)


def test_all_that_can_be_done(published: list[LocalArtifact], bucket: Bucket) -> None:
    older, newer = published
    registry("tag", f"{NAME}@{older.commit[:7]}", "stable")
    (model,) = parsed("list")
    assert [version["commit"] for version in model["versions"]] == [newer.commit, older.commit]
    assert [version["tags"] for version in model["versions"]] == [[], ["stable"]]
    assert parsed("show", f"{NAME}@stable")["location"] == older.location
    registry("untag", NAME, "stable")
    assert "all well" in registry("verify").stdout
    registry("delete", f"{NAME}@{newer.commit}", "--yes", "--reason", "a mistake")
    assert "a mistake" in registry("show", f"{NAME}@{newer.commit}", code=2).stderr
    assert "0.0 MB" in registry("gc").stdout
    assert len(bucket.listed("blobs/")) == 3
    bucket.make_older(timedelta(hours=25))
    registry("gc")
    assert len(bucket.listed("blobs/")) == 2
    assert parsed("verify")["versions"] == 1


def test_damage_is_named(published: list[LocalArtifact], bucket: Bucket) -> None:
    (weights,) = (file.sha256 for file in published[0].files if file.path == "model.safetensors")
    bucket.write(f"blobs/{weights}", b"other")
    found = registry("verify", code=1)
    assert f"{published[0].location}/model.safetensors: expected {weights}, found " in found.stderr
    bucket.write(f"versions/{NAME}/{JOBS[1]}/manifest.json", b"{}")
    assert len(parsed("verify", code=1)["findings"]) == 2
    assert "a manifest is damaged" in registry("gc", code=2).stderr


def test_an_address_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_REGISTRY_URL", f"s3://key:{SECRET}@bucket/prefix")
    refused = registry("list", code=2).stderr
    assert "SECATEUR_REGISTRY_URL: the address must have no account in it" in refused
    assert SECRET not in refused
    monkeypatch.setenv("SECATEUR_REGISTRY_URL", "s3://no-such-bucket/prefix")
    assert "s3://no-such-bucket/prefix cannot be written to" in registry("gc", code=2).stderr
