"""Whether the database answers."""

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError


def ping(engine: Engine) -> bool:
    """Ask the database for nothing, and see whether it answers."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True
