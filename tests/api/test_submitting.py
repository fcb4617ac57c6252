"""A request that is accepted becomes one job and one wake-up, whatever the broker does."""

import shutil
import time
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings
from tests.api.conftest import Api, Change, Json, problem_of
from tests.tiny_models import make_tiny_llama


def test_a_job_is_answered_with_its_place_and_all_defaults_filled_in(
    api: Api, body: Change, tiny_llama: Path
) -> None:
    response = api.submit(body())
    job = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["request"] == {
        "model": {"id": str(tiny_llama), "revision": None},
        "method": "osscar",
        "ratio": 0.5,
        "ratio_of": "channels",
        "dtype": "auto",
        "remote_code": "native",
        "memory_budget": {"device": None, "host": None},
        "weights": "auto",
        "shard_size": 5_000_000_000,
        "formats": ["safetensors"],
        "options": {
            "damping": 0.001,
            "refit_damping": None,
            "drift_correction": 0.5,
            "vocabulary_share": 0.125,
            "producer_steps": 2,
            "attention_refit": False,
            "width_multiple": 128,
        },
        "calibration": {"dataset": "builtin", "samples": 4, "sequence_length": 64, "seed": 0},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "destination": {"kind": "local", "name": None},
        "deadline_seconds": None,
    }
    assert (job["state"], job["stage"], job["progress"], job["attempt"]) == ("queued", None, 0, 0)
    assert api.client.get(response.headers["location"]).json()["request"] == job["request"]


def test_the_wake_up_with_the_jobs_id_is_in_the_broker(api: Api, body: Change) -> None:
    jobs = [api.submit(body()).json()["id"] for _ in range(3)]
    assert api.take_wake_ups() == jobs


def test_a_deadline_is_told_as_a_time(api: Api, body: Change) -> None:
    job = api.submit(body() | {"deadline_seconds": 3600}).json()
    waits = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
    assert abs(waits.total_seconds() - 3600) < 1
    assert api.submit(body()).json()["deadline_at"] is None
    problem = api.refused(body() | {"deadline_seconds": 0})
    assert problem["errors"][0]["field"] == "deadline_seconds"


def test_times_are_told_in_utc(api: Api, body: Change) -> None:
    # The server of the tests lives in Kolkata.
    assert api.submit(body()).json()["created_at"].endswith("Z")


@pytest.mark.parametrize(
    "request_body",
    [
        {"method": "depth", "ratio": 0.25},
        {"model": "qwen2"},
        {"ratio_of": "parameters", "ratio": 0.3},
        {"destination": {"kind": "local"}, "dtype": "float32"},
        {"destination": {"kind": "local", "name": "team/smaller"}},
    ],
)
def test_other_kinds_of_requests_are_accepted(
    request_body: Json, api: Api, body: Change, tiny_qwen2: Path
) -> None:
    if request_body.get("model") == "qwen2":
        request_body = {"model": {"id": str(tiny_qwen2)}}
    assert api.submit(body(request_body)).status_code == 201


@pytest.mark.parametrize("url", ["redis+socket://{folder}/nobody.sock", "redis://127.0.0.1:1/0"])
def test_a_broker_that_is_down_neither_fails_nor_delays_a_request(
    url: str, settings: Settings, engine: Engine, body: Change, tmp_path: Path
) -> None:
    without = settings.model_copy(update={"redis_url": url.format(folder=tmp_path)})
    with TestClient(create_app(without)) as client:
        started = time.monotonic()
        response = client.post("/jobs", json=body())
        assert time.monotonic() - started < 3
        assert response.status_code == 201
        assert client.get(response.headers["location"]).json()["state"] == "queued"


def test_the_same_key_and_request_is_one_job_and_one_wake_up(api: Api, body: Change) -> None:
    first, second = (api.submit(body(), **{"Idempotency-Key": "once"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    assert api.count() == 1
    assert api.take_wake_ups() == [first.json()["id"]]


def test_a_request_that_differs_only_in_what_the_defaults_say_is_the_same(api: Api, body: Change) -> None:
    first = api.submit(body(), **{"Idempotency-Key": "once"}).json()
    spelled_out = body({"options.damping": 0.001, "destination.kind": "local", "calibration.seed": 0})
    assert api.submit(spelled_out, **{"Idempotency-Key": "once"}).json()["id"] == first["id"]


def test_the_same_key_with_another_request_is_refused(api: Api, body: Change) -> None:
    first = api.submit(body(), **{"Idempotency-Key": "once"}).json()
    problem = api.refused(body({"ratio": 0.4}), status=409, **{"Idempotency-Key": "once"})
    assert problem["type"] == "/problems/idempotency-key-reused"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("Idempotency-Key", "once")
    assert first["id"] in error["reason"]
    assert error["remedy"].startswith("Send a new request with a new key")


def test_without_a_key_the_same_request_is_two_jobs(api: Api, body: Change) -> None:
    first, second = (api.submit(body()).json() for _ in range(2))
    assert first["id"] != second["id"]


def test_a_registry_that_cannot_be_written_to_is_refused_before_the_work(api: Api, body: Change) -> None:
    api.settings.data_dir.mkdir(exist_ok=True)
    api.settings.registry_root.write_text("in the way")
    problem = api.refused(body())
    assert problem["type"] == "/problems/destination-not-writable"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("destination", {"kind": "local", "name": None})
    assert str(api.settings.registry_root) in error["reason"]
    assert "SECATEUR_DATA_DIR" in error["remedy"]
    api.settings.registry_root.unlink()
    assert api.submit(body()).status_code == 201


def test_a_database_that_is_gone_is_a_problem_that_asks_to_try_again(
    settings: Settings, body: Change
) -> None:
    gone = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with TestClient(create_app(gone)) as client:
        response = client.post("/jobs", json=body())
    problem = problem_of(response, 503)
    assert problem["type"] == "/problems/database-unreachable"
    assert response.headers["retry-after"] == "5"
    assert "Idempotency-Key" in problem["detail"]


def test_a_bug_of_ours_is_a_problem_with_the_requests_id_and_without_its_secrets(
    settings: Settings, body: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("password: hunter2")

    monkeypatch.setattr("jobs.store.submit", fail)
    with TestClient(create_app(settings)) as client:
        response = client.post("/jobs", json=body(), headers={"X-Request-ID": "of-the-bug"})
    problem = problem_of(response, 500)
    assert problem["type"] == "/problems/internal"
    assert "of-the-bug" in problem["detail"]
    assert response.headers["x-request-id"] == "of-the-bug"
    assert "hunter2" not in str(problem)


def test_a_repeated_post_is_the_same_job_even_when_it_would_be_refused_now(
    api: Api, body: Change, models: Path
) -> None:
    folder = make_tiny_llama(models / "soon-gone")
    request = body({"model": str(folder)})
    first = api.client.post("/jobs", json=request, headers={"Idempotency-Key": "gone"})
    assert first.status_code == 201
    shutil.rmtree(folder)
    again = api.client.post("/jobs", json=request, headers={"Idempotency-Key": "gone"})
    assert again.status_code == 200
    assert again.json()["id"] == first.json()["id"]
    assert api.client.post("/jobs", json=request).status_code == 422
