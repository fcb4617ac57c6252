"""Models that bring code of their own: what the API accepts, and what it refuses without ever running any."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings
from tests.api.conftest import Api, Change, problem_of
from tests.pruning_core.published_recipes import trust
from tests.tiny_published import make_published, mark_import


@pytest.fixture(scope="module", params=["chatglm", "deepseek"])
def folder(request: pytest.FixtureRequest, texts_root: Path) -> Path:
    return make_published(request.param, texts_root / request.param)


@pytest.fixture
def marker(folder: Path) -> Iterator[Path]:
    """What the code of the model writes when it is imported, which no test here lets it."""
    before = {file: file.read_text() for file in folder.glob("*.py")}
    marker = mark_import(folder)
    yield marker
    assert not marker.exists()
    for file, content in before.items():
        file.write_text(content)


@pytest.fixture
def ask(body: Change, folder: Path) -> Change:
    def change(changes: dict[str, object] | None = None) -> dict[str, object]:
        return body({"model": str(folder), "method": "depth", **(changes or {})})

    return change


@pytest.mark.parametrize("path", ["/jobs", "/estimates"])
def test_code_that_nobody_allowed_is_refused_with_the_entry_that_would_allow_it(
    path: str, refusing_api: Api, ask: Change, folder: Path, marker: Path
) -> None:
    with refusing_api.unchanged():
        response = refusing_api.client.post(path, json=ask({"remote_code": "in_place"}))
    problem = problem_of(response, 422)
    assert problem["type"] == "/problems/untrusted-code"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("remote_code", "in_place")
    (entry,) = trust(folder)
    assert f"{entry} to SECATEUR_TRUSTED_REMOTE_CODE" in error["remedy"]
    assert "Leave remote_code out" in error["remedy"]


def test_without_running_code_they_are_accepted(
    refusing_api: Api, ask: Change, folder: Path, marker: Path
) -> None:
    response = refusing_api.submit(ask())
    assert response.status_code == 201, response.text
    assert response.json()["request"]["remote_code"] == "native"


def test_allowed_code_is_accepted_until_it_changes(
    settings: Settings, ask: Change, folder: Path, marker: Path
) -> None:
    allowed = settings.model_copy(update={"trusted_remote_code": tuple(trust(folder))})
    request = ask({"remote_code": "in_place"})
    with TestClient(create_app(allowed)) as client:
        assert client.post("/jobs", json=request).status_code == 201
        with (folder / f"modeling_{folder.name}.py").open("a") as file:
            file.write("\n# another thought\n")
        problem = problem_of(client.post("/jobs", json=request), 422)
    assert problem["type"] == "/problems/untrusted-code"


def test_a_tokenizer_that_is_code_is_refused_for_a_job_and_no_matter_for_an_estimate(
    refusing_api: Api, ask: Change, folder: Path, marker: Path
) -> None:
    tokenizer, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    whole, before = tokenizer.read_bytes(), settings.read_text()
    tokenizer.unlink()
    settings.write_text('{"auto_map": {"AutoTokenizer": ["tokenization.Own", null]}}')
    problem = refusing_api.refused(ask())
    assert problem["type"] == "/problems/untrusted-code"
    assert "tokenizer.json" in problem["errors"][0]["remedy"]
    assert refusing_api.client.post("/estimates", json=ask()).status_code == 200
    settings.unlink()
    assert refusing_api.refused(ask())["type"] == "/problems/unreadable-model"
    settings.write_text("[")
    assert refusing_api.refused(ask())["type"] == "/problems/unreadable-model"
    tokenizer.write_bytes(whole)
    settings.write_text(before)


def test_experts_are_not_narrowed_in_place(settings: Settings, ask: Change, folder: Path) -> None:
    allowed = settings.model_copy(update={"trusted_remote_code": tuple(trust(folder))})
    request = ask({"remote_code": "in_place", "method": "osscar", "ratio": 0.3})
    with TestClient(create_app(allowed)) as client:
        response = client.post("/jobs", json=request)
    if folder.name == "chatglm":
        assert response.status_code == 201, response.text
        return
    problem = problem_of(response, 422)
    assert problem["type"] == "/problems/unsupported-family"
    assert "Leave remote_code out, and they are narrowed as qwen2_moe's" in problem["errors"][0]["remedy"]


def test_a_model_without_code_of_its_own_cannot_be_pruned_in_place(refusing_api: Api, body: Change) -> None:
    problem = refusing_api.refused(body({"remote_code": "in_place"}))
    assert problem["type"] == "/problems/no-remote-code"
    assert problem["errors"][0]["remedy"] == "Leave remote_code out."


def test_there_are_two_ways_and_no_third(refusing_api: Api, ask: Change) -> None:
    problem = refusing_api.refused(ask({"remote_code": "trust me"}))
    assert problem["type"] == "/problems/invalid-request"
    assert problem["errors"][0]["remedy"] == "Use 'native' or 'in_place'."


def test_the_allow_list_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    entries = (f"owner/name@{'ce' * 20}", f"/models/mine@{'ab' * 32}")
    monkeypatch.setenv("SECATEUR_TRUSTED_REMOTE_CODE", ",".join(entries))
    assert Settings().trusted_remote_code == entries
    monkeypatch.setenv("SECATEUR_TRUSTED_REMOTE_CODE", "owner/name@main")
    with pytest.raises(ValidationError, match="the whole commit, 40 hexadecimal"):
        Settings()
