"""The database schema's history, and how to move along it from code."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def upgrade(url: str) -> None:
    """Bring the database to this version's schema; concurrent calls wait for each other."""
    command.upgrade(_config(url), "head")


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`; `base` is the empty schema."""
    command.downgrade(_config(url), revision)


@cache
def head() -> str | None:
    """Name the revision of this version's schema."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config(url: str | None = None) -> Config:
    config = Config(Path(__file__).with_name("alembic.ini"))
    config.attributes["url"] = url
    return config
