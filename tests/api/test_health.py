"""Whether the service lives, and whether it can work."""

import time
from pathlib import Path

from sqlalchemy import make_url
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings
from tests.conftest import PostgresServer

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"


def ask(settings: Settings, path: str, **changes: str) -> tuple[int, dict[str, str]]:
    with TestClient(create_app(settings.model_copy(update=changes))) as client:
        response = client.get(path)
    return response.status_code, response.json()


def test_with_everything_there_it_is_ready(settings: Settings) -> None:
    assert ask(settings, "/readyz") == (200, {"database": "ok", "broker": "ok"})


def test_without_the_broker_it_is_ready_and_says_so(settings: Settings, tmp_path: Path) -> None:
    started = time.monotonic()
    answer = ask(settings, "/readyz", redis_url=f"redis+socket://{tmp_path}/nobody.sock")
    assert answer == (200, {"database": "ok", "broker": "unreachable"})
    assert time.monotonic() - started < 5


def test_without_the_database_it_is_not_ready(settings: Settings) -> None:
    answer = ask(settings, "/readyz", database_url=NO_DATABASE)
    assert answer == (503, {"database": "unreachable", "broker": "ok"})


def test_it_lives_without_database_and_broker(settings: Settings) -> None:
    nothing = {"database_url": NO_DATABASE, "redis_url": "redis://127.0.0.1:1/0"}
    assert ask(settings, "/healthz", **nothing) == (200, {"status": "ok"})


def test_it_is_ready_again_when_the_database_is_back(settings: Settings, server: PostgresServer) -> None:
    name = make_url(settings.database_url).database
    with TestClient(create_app(settings)) as client:
        assert client.get("/readyz").status_code == 200
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname ~ '^test_'")
        server.execute(f'alter database "{name}" rename to "{name}_away"')
        assert client.get("/readyz").json() == {"database": "unreachable", "broker": "ok"}
        server.execute(f'alter database "{name}_away" rename to "{name}"')
        assert client.get("/readyz").status_code == 200
