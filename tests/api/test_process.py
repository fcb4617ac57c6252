"""The API as the process that operators start."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from jobs.settings import Settings
from tests.api.conftest import Change, WakeUpQueue
from tests.api.running import environment


@pytest.fixture
def client(running_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_url, trust_env=False, timeout=30) as client:
        yield client


def test_it_starts_without_torch(module_settings: Settings) -> None:
    heavy = ["torch", "transformers", "datasets", "accelerate"]
    code = f"import api.app, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(module_settings),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_it_says_which_setting_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import api.app"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr
    assert "REDIS_URL" in done.stderr


def test_a_job_goes_in_and_comes_out_over_real_sockets(
    client: httpx.Client, broker_url: str, body: Change
) -> None:
    wake_ups = WakeUpQueue(broker_url)
    wake_ups.take()
    created = client.post("/jobs", json=body())
    assert created.status_code == 201
    assert wake_ups.wait(seconds=10) == created.json()["id"]
    assert client.get(created.headers["location"]).json()["state"] == "queued"
    assert client.post(f"{created.headers['location']}/cancel").json()["state"] == "cancelled"
    assert client.get("/readyz").json() == {"database": "ok", "broker": "ok"}


def test_problems_and_limits_are_the_same_over_real_sockets(
    client: httpx.Client, module_settings: Settings, body: Change
) -> None:
    before = client.get("/jobs").json()
    json = {"Content-Type": "application/json"}
    too_large = client.post("/jobs", content=b" " * (module_settings.max_body_bytes + 1), headers=json)
    chunks = (b" " * 10_000 for _ in range(20))
    too_long = client.post("/jobs", content=chunks, headers=json)
    nan = client.post("/jobs", content='{"ratio": NaN}', headers=json)
    wrong = client.post("/jobs", json=body({"ratio": 2}))
    answers = [too_large, too_long, nan, wrong]
    assert [answer.status_code for answer in answers] == [413, 413, 422, 422]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert client.get("/jobs").json() == before


def test_headers_without_an_end_are_not_waited_for(running_url: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(running_url).port or 0), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"1" * 17_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_ten_posts_at_once_with_one_key_are_one_job(client: httpx.Client, body: Change) -> None:
    request = body()
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(
                lambda _: client.post("/jobs", json=request, headers={"Idempotency-Key": "once"}), range(10)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
