"""Checkpoints with pickled weights: refused from the names of their files, unless the operator allows them."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings
from tests.api.conftest import Api, Change, problem_of
from tests.tiny_models import make_tiny_llama


@pytest.fixture(scope="module")
def folder(texts_root: Path) -> Path:
    """The content of the file does not matter: the API opens none."""
    folder = make_tiny_llama(texts_root / "pickled")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    return folder


@pytest.mark.parametrize("path", ["/jobs", "/estimates"])
def test_pickled_weights_are_refused(path: str, refusing_api: Api, body: Change, folder: Path) -> None:
    with refusing_api.unchanged():
        response = refusing_api.client.post(path, json=body({"model": str(folder)}))
    problem = problem_of(response, 422)
    assert problem["type"] == "/problems/pickled-weights"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("model", str(folder))
    assert "pytorch_model.bin" in error["reason"]
    assert "SECATEUR_ALLOW_PICKLE" in error["remedy"]


def test_pickled_weights_are_accepted_where_the_operator_allows_them(
    settings: Settings, body: Change, folder: Path
) -> None:
    with TestClient(create_app(settings.model_copy(update={"allow_pickle": True}))) as client:
        assert client.post("/jobs", json=body({"model": str(folder)})).status_code == 201


def test_the_setting_is_off_unless_it_is_set(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.delenv("SECATEUR_ALLOW_PICKLE", raising=False)
    assert Settings().allow_pickle is False
    monkeypatch.setenv("SECATEUR_ALLOW_PICKLE", "1")
    assert Settings().allow_pickle is True
