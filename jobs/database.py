"""The way to Postgres."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from jobs.settings import Settings

# `Engine` is the one name of SQLAlchemy's that the API needs, and it takes it from here.
__all__ = ["Engine", "connect", "transaction"]

CONNECT_TIMEOUT_SECONDS = "5"
# As many as one process of Python can keep busy. More would be opened and closed with every burst.
CONNECTIONS = 10
RESTED_SECONDS = 1.0
_RESTS_SINCE = "rests since"


def connect(source: Settings | str) -> Engine:
    """Make the engine every store function takes. Nothing is opened before its first use.

    Args:
        source: The settings, or a URL: `postgresql+psycopg://…`, or one that names no driver.
    """
    url = make_url(source.database_url if isinstance(source, Settings) else source)
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": CONNECT_TIMEOUT_SECONDS})
    engine = create_engine(url, pool_size=CONNECTIONS, max_overflow=0)
    event.listen(engine, "connect", _read_times_in_utc)
    event.listen(engine, "checkin", _note_rest)
    event.listen(engine, "checkout", _wake_rested(engine))
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session whose objects stay readable after the commit that ends it."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def statement(engine: Engine) -> Iterator[Session]:
    """A session for statements that are a transaction each: nobody waits for BEGIN and COMMIT."""
    with Session(engine, expire_on_commit=False) as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield session


def _read_times_in_utc(connection: Any, _record: object) -> None:
    """Give timestamps in UTC whatever zone the server is set to: the API prints them as they come."""
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _note_rest(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_RESTS_SINCE] = time.monotonic()


def _wake_rested(engine: Engine) -> Callable[..., None]:
    """Ask a connection that has rested whether it still lives, as `pool_pre_ping` asks each before every use.

    After a restart of Postgres the pool would give out dead ones. Those that were just in use have seen it themselves.
    """

    def wake(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        rests_since = record.info.get(_RESTS_SINCE)
        if rests_since is None or time.monotonic() - rests_since < RESTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # The pool then opens another in its place.
            raise DisconnectionError from error

    return wake
