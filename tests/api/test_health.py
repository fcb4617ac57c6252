"""Whether the service lives, and whether it can work."""

import time
from pathlib import Path

import pytest
from sqlalchemy import make_url
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings
from migrations import downgrade, head, upgrade
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
        server.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname ~ '^test_'"
        )
        server.execute(f'alter database "{name}" rename to "{name}_away"')
        assert client.get("/readyz").json() == {"database": "unreachable", "broker": "ok"}
        server.execute(f'alter database "{name}_away" rename to "{name}"')
        assert client.get("/readyz").status_code == 200


def test_a_request_that_a_restart_of_the_database_cut_off_is_told_to_come_again(
    settings: Settings, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for a connection that was in use just before.
    monkeypatch.setattr("jobs.database.RESTED_SECONDS", 3600)
    name = make_url(settings.database_url).database
    with TestClient(create_app(settings)) as client:
        assert client.get("/jobs").status_code == 200
        ours = f"where datname = '{name}'"
        server.execute(f"select pg_terminate_backend(pid, 10000) from pg_stat_activity {ours}")  # noqa: S608  a name of the tests' own
        # It is back by now, as when somebody asks whether it is.
        cut_off = client.get("/jobs")
        assert (cut_off.status_code, cut_off.headers["retry-after"]) == (503, "5")
        assert client.get("/jobs").status_code == 200


def test_with_the_schema_of_another_version_it_is_not_ready_and_names_both(
    settings: Settings, server: PostgresServer
) -> None:
    with server.database() as empty:
        status, answer = ask(settings, "/readyz", database_url=empty)
        assert (status, answer["database"]) == (503, "wrong-schema")
        assert f"is missing, this version of Secateur needs {head()}." in answer["detail"]
        upgrade(empty)
        downgrade(empty, "0001")
        assert "is at revision 0001, " in ask(settings, "/readyz", database_url=empty)[1]["detail"]
        upgrade(empty)
        assert ask(settings, "/readyz", database_url=empty)[0] == 200


def test_with_a_database_that_takes_no_writes_it_is_not_ready(
    settings: Settings, server: PostgresServer
) -> None:
    name = make_url(settings.database_url).database
    server.execute(f'alter database "{name}" set default_transaction_read_only = on')
    status, answer = ask(settings, "/readyz")
    assert (status, answer["database"]) == (503, "read-only")
    assert "standby" in answer["detail"]
