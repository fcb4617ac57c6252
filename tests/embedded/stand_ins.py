"""`secateur up`, with web servers and sleepers where the API and the worker would be."""

import argparse
import sys
from pathlib import Path

import psycopg

from cli.embedded.errors import EmbeddedStackError
from cli.embedded.processes import RestartPolicy, Service
from cli.embedded.service import Surroundings, Up, run


def compose(around: Surroundings) -> list[Service]:
    (around.cwd / "readyz").write_text("ready")
    server = ["-m", "http.server", str(around.port), "--bind", around.host]
    api = Service(name="api", command=[sys.executable, *server], env=around.env, cwd=around.cwd)
    # Prints what it was given, and has a child in a group of its own as the worker does.
    script = "env | grep -E '^(DATABASE|REDIS|SECATEUR)_'; pwd; setsid sleep 600 & sleep 600"
    worker = Service(name="worker", command=["sh", "-c", script], env=around.env, cwd=around.cwd)
    return [api, worker]


def compose_broken(around: Surroundings) -> list[Service]:
    return [Service(name="worker", command=["sh", "-c", "echo no such model; exit 3"])]


def migrate(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("create table if not exists starts (at timestamptz default now())")
        connection.execute("insert into starts default values")
        count = connection.execute("select count(*) from starts").fetchone()
    sys.stdout.write(f"starts: {count}\n")


def leave_alone(url: str) -> None:
    pass


parser = argparse.ArgumentParser()
parser.add_argument("data_dir", type=Path)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int)
parser.add_argument("--broken", action="store_true")
parser.add_argument("--no-migrations", action="store_true")
arguments = parser.parse_args()
try:
    run(
        Up(
            data_dir=arguments.data_dir,
            host=arguments.host,
            port=arguments.port,
            local_roots=[Path("/models"), Path("/texts")],
        ),
        compose=compose_broken if arguments.broken else compose,
        migrate=leave_alone if arguments.no_migrations else migrate,
        policy=RestartPolicy(first_delay=0.02),
    )
except EmbeddedStackError as error:
    sys.exit(f"{type(error).__name__}: {error}")
