"""Databases without a schema, and the few steps that most tests of the store begin with."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.orm import Session

from jobs import store
from jobs.database import connect
from jobs.models import Job, JobEvent, JobShare
from jobs.store import Lease
from tests.conftest import PostgresServer


@pytest.fixture
def empty_url(server: PostgresServer) -> Iterator[str]:
    with server.database() as url:
        yield url


@pytest.fixture(scope="session")
def shared_engine(server: PostgresServer, migrated: str) -> Iterator[Engine]:
    with server.database(migrated) as url:
        engine = connect(url)
        yield engine
        engine.dispose()


@pytest.fixture
def connection(shared_engine: Engine) -> Iterator[Connection]:
    """For tests that need one transaction only: nothing of it is kept, which is quicker than a database."""
    with shared_engine.connect() as connection:
        yield connection


class Desk:
    """The few steps that most tests begin with, on one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def submit(self, request: dict[str, Any] | None = None, **changes: Any) -> Job:
        """Queue a job."""
        labels = {"model": "tiny", "method": "osscar", "ratio": 0.25, "dataset": "builtin"} | changes
        return store.submit(self.engine, request or {"model": "tiny"}, **labels).job

    def start(self, **changes: Any) -> Lease:
        """Queue a job and claim it."""
        return self.claim(self.submit(**changes).id)

    def claim(self, job_id: UUID) -> Lease:
        lease = store.claim(self.engine, job_id, "worker-1", 60)
        assert lease is not None
        return lease

    def succeed(self, lease: Lease, **changes: Any) -> Job:
        result = {
            "perplexity_before": 20.0,
            "perplexity_after": 25.5,
            "parameters_before": 1000,
            "parameters_after": 900,
            "cut": {"layers_before": 4, "layers_after": 3},
            "artifact": {"name": "pruned/tiny"},
            "dtype": "float32",
        }
        return store.succeed(self.engine, lease, **result | changes)

    def job(self, job_id: UUID) -> Job:
        job = store.get(self.engine, job_id)
        assert job is not None
        return job

    def kinds(self, job_id: UUID) -> list[str]:
        return [event.kind for event in store.events(self.engine, job_id)]

    def alter(self, job_id: UUID, **values: Any) -> None:
        """Write what no store function would, such as a lease that has run out."""
        with Session(self.engine) as session, session.begin():
            session.execute(update(Job).where(Job.id == job_id).values(**values))

    def snapshot(self) -> list[tuple[Any, ...]]:
        """Every value in the database, to show that nothing was written."""
        with self.engine.connect() as connection:
            jobs = connection.execute(select(Job.__table__).order_by(Job.id)).all()
            events = connection.execute(select(JobEvent.__table__).order_by(JobEvent.id)).all()
            shares = connection.execute(select(JobShare.__table__).order_by(JobShare.job_id)).all()
        return [tuple(row) for row in [*jobs, *events, *shares]]


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)
