"""The registry in a real S3 server as a Hub: its own clients load from there what a job published."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub.file_download import http_get
from sqlalchemy import Engine
from starlette.testclient import TestClient
from transformers import AutoModelForCausalLM

from api.application import create_app
from jobs.settings import Settings
from registry.local import LocalArtifact
from registry.opening import open_catalog, open_registry
from registry.reading import Model
from tests.api.conftest import Change, problem_of
from tests.api.running import running_api
from tests.api.test_hub import ASK, ASK_ABOUT_VERSIONS, FILE, JOB, LATER_JOB, NAME, ask
from tests.object_store import SECRET, Bucket, running_object_store


@pytest.fixture(scope="module", autouse=True)
def object_store() -> Iterator[None]:
    with running_object_store():
        yield


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def in_bucket(settings: Settings, engine: Engine, bucket: Bucket) -> Settings:
    return settings.model_copy(update={"registry_url": bucket.url})


def require(model: Model | None) -> Model:
    assert model is not None
    return model


def publish(settings: Settings, model: Path, job_id: str = JOB, notes: str = "notes") -> LocalArtifact:
    registry = open_registry(settings.registry_root, settings.registry_url)
    staged = registry.stage(job_id)
    shutil.copytree(model, staged, dirs_exist_ok=True)
    (staged / "deeper").mkdir()
    (staged / "deeper" / "notes.txt").write_text(notes)
    return registry.publish(job_id, job_id, NAME)


def test_clients_of_the_hub_load_it_and_go_on_where_they_were_cut_off(
    in_bucket: Settings, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    artifact = publish(in_bucket, tiny_llama)
    files = {file.path: file.sha256 for file in artifact.files}
    content = (tiny_llama / "model.safetensors").read_bytes()
    half = len(content) // 2
    with running_api(in_bucket, tmp_path / "log") as url:
        answered = ask(url, tmp_path / "home", ASK, NAME, artifact.commit)
        with (tmp_path / "partial").open("wb") as file:
            file.write(b"\0" * half)
            http_get(f"{url}{FILE}", file, resume_size=half, expected_size=len(content))
        head = httpx.head(f"{url}{FILE}", trust_env=False)
        newer = publish(in_bucket, tiny_llama, LATER_JOB, "newer")
        catalog = open_catalog(in_bucket.registry_root, in_bucket.registry_url)
        catalog.set_tag(NAME, "stable", newer.commit)
        catalog.delete(NAME, require(catalog.find(NAME)).versions[1], "somebody", "a mistake")
        later = ask(url, tmp_path / "later", ASK_ABOUT_VERSIONS, NAME, "main", "stable", artifact.commit)
    weights = AutoModelForCausalLM.from_pretrained(tiny_llama).state_dict().values()
    assert answered["sums"] == [sum(weight.double().sum().item() for weight in weights)] * 2
    snapshot = Path(answered["snapshot"])
    assert {path: hashlib.sha256((snapshot / path).read_bytes()).hexdigest() for path in files} == files
    assert (tmp_path / "partial").read_bytes() == b"\0" * half + content[half:]
    assert int(head.headers["content-length"]) == len(content)
    assert head.headers["etag"] == f'"{files["model.safetensors"]}"'
    assert later["notes"] == ["newer", "newer", None]
    assert "a mistake" in later["refused"][0]
    assert later["tags"] == {"stable": newer.commit}
    assert later["commits"] == [newer.commit]
    assert SECRET not in (tmp_path / "log").read_text()


RANGES: list[tuple[dict[str, str], int, slice, str | None]] = [
    ({}, 200, slice(None), None),
    ({"Range": "bytes=0-0"}, 206, slice(0, 1), "bytes 0-0/{size}"),
    ({"Range": "bytes=7-"}, 206, slice(7, None), "bytes 7-{last}/{size}"),
    ({"Range": "bytes=-7"}, 206, slice(-7, None), "bytes {tail}-{last}/{size}"),
    ({"Range": "bytes=7-99999999999"}, 206, slice(7, None), "bytes 7-{last}/{size}"),
    ({"Range": "bytes=-99999999999"}, 206, slice(None), "bytes 0-{last}/{size}"),
    ({"Range": "bytes=99999999999-"}, 416, slice(0, 0), "bytes */{size}"),
    ({"Range": "bytes=-0"}, 416, slice(0, 0), "bytes */{size}"),
    ({"Range": "bytes=7-3"}, 200, slice(None), None),
    ({"Range": "bytes=0-1,4-5"}, 200, slice(None), None),
    ({"Range": "lines=0-1"}, 200, slice(None), None),
    ({"Range": "bytes=-"}, 200, slice(None), None),
    ({"Range": "bytes=7-", "If-Range": '"another"'}, 200, slice(None), None),
]


def test_ranges(in_hub: TestClient, tiny_llama: Path) -> None:
    content = (tiny_llama / "model.safetensors").read_bytes()
    size = len(content)
    for headers, status, part, told in RANGES:
        got = in_hub.get(FILE, headers=headers)
        assert (got.status_code, got.content) == (status, content[part]), headers
        assert int(got.headers["content-length"]) == len(content[part])
        expected = told and told.format(size=size, last=size - 1, tail=size - 7)
        assert got.headers.get("content-range") == expected, headers


@pytest.fixture
def in_hub(in_bucket: Settings, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("registry.objects.store.PIECE_BYTES", 10_000)
    publish(in_bucket, tiny_llama)
    with TestClient(create_app(in_bucket)) as client:
        yield client


def test_nothing_but_what_was_published_is_there(in_hub: TestClient) -> None:
    for path in (
        f"{NAME}/resolve/main/manifest.json",
        f"{NAME}/resolve/main/..%2f..%2fblobs%2fx",
        f"{NAME}/resolve/main/deeper",
        f"{NAME}/resolve/{'0' * 40}/config.json",
        "pruned/%2e%2e/resolve/main/config.json",
        "blobs/x/resolve/main/config.json",
    ):
        assert problem_of(in_hub.get(f"/hub/{path}"), 404)


def test_a_blob_that_is_gone_or_was_cut_is_not_given(in_hub: TestClient, bucket: Bucket) -> None:
    (weights,) = (key for key in bucket.listed("blobs/") if len(bucket.read(key)) > 100_000)
    bucket.write(weights, b"cut")
    problem_of(in_hub.get(FILE), 404)
    bucket.remove(weights)
    problem_of(in_hub.get(FILE), 404)
    assert in_hub.head(f"/hub/{NAME}/resolve/main/config.json").status_code == 200


def test_a_bucket_that_cannot_be_written_to_refuses_jobs(
    settings: Settings, engine: Engine, body: Change
) -> None:
    nowhere = settings.model_copy(update={"registry_url": "s3://no-such-bucket/prefix"})
    with TestClient(create_app(nowhere)) as client:
        problem = problem_of(client.post("/jobs", json=body()), 422)
    assert "s3://no-such-bucket/prefix cannot be written to" in problem["detail"]
