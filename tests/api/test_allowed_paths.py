"""Nothing outside the allowed folders is read or told about, however it is named."""

import os
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings
from tests.api.conftest import Api, Change, problem_of


@pytest.fixture
def outside(tmp_path: Path, tiny_llama: Path) -> Path:
    """A folder with a whole model and a long text in it, which would be accepted anywhere else."""
    folder = tmp_path / "outside"
    shutil.copytree(tiny_llama, folder)
    (folder / "text.txt").write_text("a word " * 10_000)
    return folder


def refused(refusing_api: Api, request: dict[str, object], field: str, value: str) -> None:
    problem = refusing_api.refused(request)
    assert problem["type"] == "/problems/path-not-allowed"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == (field, value)
    assert error["reason"] == "this path is outside the folders that jobs may read."
    assert all(str(root) in error["remedy"] for root in refusing_api.settings.local_roots)


def ways_out(outside: Path, inside: Path) -> list[str]:
    """Name `outside` itself, by way of `..`, by a symlink to it and by a symlink above it."""
    (inside / "link").symlink_to(outside)
    (inside / "above").symlink_to(outside.parent)
    return [
        str(outside),
        f"{inside}/{os.path.relpath(outside, inside)}",
        f"{inside}/missing/../{os.path.relpath(outside, inside)}",
        f"{inside}/link",
        f"{inside}/above/{outside.name}",
    ]


def test_a_model_outside_is_refused(refusing_api: Api, body: Change, outside: Path, texts: Path) -> None:
    for path in ways_out(outside, texts):
        assert (Path(path) / "config.json").exists() or "missing" in path
        refused(refusing_api, body({"model": path}), "model", path)


@pytest.mark.parametrize("part", ["calibration", "evaluation"])
def test_a_text_outside_is_refused(
    part: str, refusing_api: Api, body: Change, outside: Path, texts: Path
) -> None:
    field = f"{part}.dataset"
    for folder in ways_out(outside, texts):
        refused(refusing_api, body({field: f"{folder}/text.txt"}), field, f"{folder}/text.txt")


def test_a_file_of_the_model_that_is_a_link_to_the_outside_is_refused(
    refusing_api: Api, body: Change, outside: Path, models: Path, tmp_path: Path
) -> None:
    folder = models / tmp_path.name
    folder.mkdir()
    (folder / "config.json").write_bytes((outside / "config.json").read_bytes())
    (folder / "model.safetensors").symlink_to(outside / "model.safetensors")
    problem = refusing_api.refused(body({"model": str(folder)}))
    assert problem["type"] == "/problems/path-not-allowed"
    assert problem["errors"][0]["value"] == f"{folder}/model.safetensors"


def test_a_link_that_stays_inside_is_followed(
    refusing_api: Api, body: Change, tiny_llama: Path, texts: Path
) -> None:
    (texts / "link").symlink_to(tiny_llama)
    assert refusing_api.submit(body({"model": f"{texts}/link"})).status_code == 201


def test_what_is_there_and_what_is_not_is_refused_in_the_same_words(refusing_api: Api, body: Change) -> None:
    there, not_there = (
        refusing_api.refused(body({"model": path})) for path in ("/etc/passwd", "/etc/no-such-file")
    )
    assert there["detail"] == not_there["detail"]


def test_a_folder_whose_name_begins_like_an_allowed_one_is_outside(
    refusing_api: Api, body: Change, texts_root: Path
) -> None:
    path = f"{texts_root}-secret/model"
    refused(refusing_api, body({"model": path}), "model", path)


@pytest.mark.parametrize("path", ["~no-such-user/model", "{texts}/loop"])
def test_a_path_that_leads_nowhere_is_refused(
    path: str, refusing_api: Api, body: Change, texts: Path
) -> None:
    (texts / "loop").symlink_to(texts / "loop")
    path = path.format(texts=texts)
    for field in ("model", "calibration.dataset"):
        problem = refusing_api.refused(body({field: path + "/a.txt"}))
        assert problem["type"] == "/problems/unusable-path"
        assert problem["errors"][0]["field"] == field


def test_without_allowed_folders_the_way_out_is_the_operator(
    settings: Settings, body: Change, tiny_llama: Path
) -> None:
    with TestClient(create_app(settings.model_copy(update={"local_roots": ()}))) as client:
        problem = problem_of(client.post("/jobs", json=body()), 422)
    assert problem["errors"][0]["remedy"].endswith("SECATEUR_LOCAL_ROOTS.")
