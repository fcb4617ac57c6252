"""Whether the database answers, and whether jobs can be claimed and leases renewed in it."""

from dataclasses import dataclass
from typing import Literal

from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

import migrations


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """Whether this version can work with the database; `detail` says what is wrong and the way out."""

    state: Literal["ok", "unreachable", "read-only", "wrong-schema"]
    detail: str | None = None


def ping(engine: Engine) -> bool:
    """Ask the database for nothing, and see whether it answers."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def was_away(error: BaseException) -> bool:
    """Tell whether an exception says that the database was not to be reached, though it may be back by now."""
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def check_database(engine: Engine) -> DatabaseHealth:
    """See whether the database answers, takes writes and has the schema of this version."""
    try:
        with engine.connect() as connection:
            # On for a standby as well as for a primary that was set so.
            read_only = connection.scalar(text("SELECT current_setting('transaction_read_only')")) == "on"
            revision = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError:
        return DatabaseHealth("unreachable")
    if revision != migrations.head():
        found = "is missing" if revision is None else f"is at revision {revision}"
        return DatabaseHealth(
            "wrong-schema",
            f"The database's schema {found}, this version of Secateur needs {migrations.head()}. "
            "Migrate the database, or run the version that its schema is of.",
        )
    if read_only:
        return DatabaseHealth(
            "read-only", "The database takes no writes. Is DATABASE_URL that of a standby? Name the primary."
        )
    return DatabaseHealth("ok")
