"""The database schema's history, and how to move along it from code."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(url: str) -> None:
    """Bring the database to this version's schema; concurrent calls wait for each other."""
    command.upgrade(_config(url), "head")


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`; `base` is the empty schema."""
    command.downgrade(_config(url), revision)


def _config(url: str) -> Config:
    config = Config(Path(__file__).with_name("alembic.ini"))
    config.attributes["url"] = url
    return config
