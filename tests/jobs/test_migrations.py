"""The schema's history leads where the models are, and back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from jobs import store
from jobs.database import connect
from jobs.models import Base
from migrations import downgrade, upgrade

ROOT = Path(__file__).parents[2]

# What Postgres itself says of the schema, in its own words, Alembic's bookkeeping aside.
CATALOG = {
    "relations": """
        SELECT relname, relkind::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname !~ '^alembic_version'""",
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
               attidentity::text, pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attnum > 0 AND attrelid IN (
            'jobs'::regclass, 'job_events'::regclass, 'event_tallies'::regclass, 'job_shares'::regclass,
            'api_keys'::regclass)""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conname !~ '^alembic_version'""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'""",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid), tgenabled::text FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
}
LEFT_BEHIND = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"""


def _catalog(engine: Engine) -> dict[str, set[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            part: {tuple(row) for row in connection.execute(text(query))} for part, query in CATALOG.items()
        }


def _names(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return {name for name in connection.scalars(text(LEFT_BEHIND)) if "alembic_version" not in name}


@pytest.fixture
def models_engine(empty_url: str) -> Iterator[Engine]:
    engine = connect(empty_url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("part", CATALOG)
def test_the_migrations_end_where_the_models_are(part: str, engine: Engine, models_engine: Engine) -> None:
    migrated = _catalog(engine)[part]
    assert migrated
    assert migrated == _catalog(models_engine)[part]


def test_alembic_would_generate_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_up_down_and_up_again_leaves_nothing_behind(empty_url: str) -> None:
    engine = connect(empty_url)
    upgrade(empty_url)
    first = _catalog(engine)
    downgrade(empty_url, "base")
    assert _names(engine) == set()
    upgrade(empty_url)
    assert _catalog(engine) == first
    engine.dispose()


def test_two_processes_may_migrate_at_once(empty_url: str) -> None:
    # Alembic's own context is one per process, so threads would not do.
    program = "import sys; from migrations import upgrade; upgrade(sys.argv[1])"
    with ThreadPoolExecutor(2) as pool:
        starts = [
            pool.submit(
                subprocess.run,
                [sys.executable, "-c", program, empty_url],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            for _ in range(2)
        ]
    assert [start.result().stderr for start in starts] == ["", ""]


def test_the_alembic_command_reads_the_url_that_platforms_print(empty_url: str) -> None:
    printed = empty_url.replace("postgresql+psycopg", "postgres")
    command = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": printed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0002" in done.stderr
    engine = connect(empty_url)
    assert "jobs" in _names(engine)
    engine.dispose()


def test_events_of_before_the_tallies_are_tallied(empty_url: str) -> None:
    upgrade(empty_url)
    engine = connect(empty_url)
    labels = {"model": "tiny", "ratio": 0.25, "dataset": "builtin"}
    for method in ("osscar", "depth", "depth"):
        job = store.submit(engine, {"model": "tiny"}, method=method, **labels).job
        assert store.claim(engine, job.id, "worker-1", 60)
    counted = store.count_jobs(engine)
    downgrade(empty_url, "0004")
    assert store.count_jobs(engine) is None
    upgrade(empty_url)
    assert store.count_jobs(engine) == counted
    engine.dispose()
