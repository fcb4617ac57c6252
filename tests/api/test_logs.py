"""Every line of the API's log can be read by a program, and says which request it is of."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.settings import Settings
from tests.api.conftest import Change
from tests.api.running import running_api


@dataclass
class LoggingApi:
    http: httpx.Client
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def of(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("request_id") == request_id]


@pytest.fixture
def logging_api(settings: Settings, tmp_path: Path) -> Iterator[LoggingApi]:
    log = tmp_path / "api.log"
    asked = settings.model_copy(update={"log_format": "json"})
    with running_api(asked, log) as url, httpx.Client(base_url=url, trust_env=False) as http:
        yield LoggingApi(http, log)


def test_a_request_is_followed_to_its_job_and_back(logging_api: LoggingApi, body: Change) -> None:
    posted = logging_api.http.post("/jobs", json=body(), headers={"X-Request-ID": "from-the-proxy.1"})
    assert posted.headers["x-request-id"] == "from-the-proxy.1"
    lines = logging_api.of("from-the-proxy.1")
    assert [line["job_id"] for line in lines if line["event"] == "queued"] == [posted.json()["id"]]
    assert [line for line in lines if "POST /jobs" in line["event"]]
    assert all(line["timestamp"] and line["level"] == "info" for line in lines)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'x"}\n{"y'])
def test_what_is_no_id_is_not_taken_for_one(given: str, logging_api: LoggingApi) -> None:
    # httpx refuses to send a line break; the server would too.
    headers = {"X-Request-ID": given.replace("\n", "\t")}
    drawn = logging_api.http.get("/healthz", headers=headers).headers["x-request-id"]
    assert len(drawn) == 32
    assert logging_api.of(drawn)


def test_a_failure_is_one_line_with_its_traceback(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(
        update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none", "log_format": "json"}
    )
    log = tmp_path / "api.log"
    with running_api(away, log) as url:
        response = httpx.get(f"{url}/jobs", trust_env=False)
    assert response.status_code == 503
    lines = LoggingApi(httpx.Client(), log).of(response.headers["x-request-id"])
    (failure,) = [line for line in lines if line["level"] == "error"]
    assert "OperationalError" in json.dumps(failure["exception"])
    (access,) = [line for line in lines if line["level"] == "info"]
    assert "GET /jobs" in access["event"]
