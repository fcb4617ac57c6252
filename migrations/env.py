"""Alembic's entry point: how a command reaches the database."""

import os
from logging.config import fileConfig

from alembic import context

from jobs.database import connect
from jobs.models import Base

MIGRATION_LOCK = 0x5EC4_7E01

config = context.config
if config.cmd_opts and config.config_file_name:
    # Only the command line owns the process's logging; a service that migrates at its start keeps its own.
    fileConfig(config.config_file_name, disable_existing_loggers=False)

engine = connect(config.attributes.get("url") or os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        # Of two processes that start together, the second waits here and then finds nothing left to do.
        context.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()
engine.dispose()
