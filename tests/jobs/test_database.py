"""Postgres may restart under a pool of connections."""

import pytest
from sqlalchemy import Engine, create_engine, text

from jobs import store


def _disconnect(engine: Engine) -> None:
    """End the connections that the pool has."""
    others = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database()"
    )
    with create_engine(engine.url).connect() as connection:
        connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))


def test_a_connection_that_ended_while_it_rested_is_replaced(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.database.RESTED_SECONDS", 0)
    assert store.list_jobs(engine).jobs == []
    _disconnect(engine)
    assert store.list_jobs(engine).jobs == []


def test_one_that_was_just_in_use_is_missed_by_a_single_call(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.database.RESTED_SECONDS", 3600)
    assert store.ping(engine)
    _disconnect(engine)
    assert not store.ping(engine)
    assert store.ping(engine)
