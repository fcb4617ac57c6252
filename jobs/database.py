"""The way to Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

from jobs.settings import Settings

# `Engine` is the one name of SQLAlchemy's that the API needs, and it takes it from here.
__all__ = ["Engine", "connect", "transaction"]

CONNECT_TIMEOUT_SECONDS = "5"


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
    engine = create_engine(url, pool_pre_ping=True)
    event.listen(engine, "connect", _read_times_in_utc)
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session whose objects stay readable after the commit that ends it."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def _read_times_in_utc(connection: Any, _record: object) -> None:
    """Give timestamps in UTC whatever zone the server is set to: the API prints them as they come."""
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()
