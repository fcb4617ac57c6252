"""The whole service behind `secateur up`."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import TypeAdapter

from cli.embedded.address import DEFAULT_PORT, choose_port, is_loopback, url_of
from cli.embedded.announcement import Announcement
from cli.embedded.errors import EmbeddedStackError
from cli.embedded.lock import FolderLock
from cli.embedded.log import ServiceLog
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.processes import RestartPolicy, Service, Supervisor
from cli.embedded.server import EmbeddedServer
from cli.embedded.signals import StopRequested, StopSignals
from cli.embedded.valkey import EmbeddedValkey
from cli.embedded.waiting import wait_until

KEYS_VARIABLE = "SECATEUR_REQUIRE_API_KEYS"
_READY_SECONDS = 120.0  # the first import of everything, on a slow disk

# A worker that is told to stop writes a checkpoint and gives its job back.
_WORKER_STOP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Up:
    """What `secateur up` was asked for."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int | None = None  # None: 8000, or the next free one
    local_roots: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the services are composed from, once the databases are there."""

    data_dir: Path
    host: str
    port: int
    env: Mapping[str, str]
    cwd: Path


def compose_services(around: Surroundings) -> list[Service]:
    """List our own processes in the order they start."""
    uvicorn = [
        *("uvicorn", "api.app:app", "--host", around.host, "--port", str(around.port)),
        # An open event stream would otherwise hold the API until it is killed.
        *("--timeout-graceful-shutdown", "5"),
        # The parser that reads no more than 16 KiB of headers; the other one, where it is installed, has no limit.
        *("--http", "h11"),
    ]
    celery = ["celery", "-A", "worker.app"]
    worker = [*celery, "worker", "--without-gossip", "--without-mingle"]
    jobs = [
        *(*worker, "--loglevel", "INFO", "--queues", "jobs", "--hostname", "jobs@%h"),
        *("--pool", "threads", "--concurrency", "1"),
    ]
    # At INFO these two would fill the log with a task every ten seconds.
    reconcile = [
        *(*worker, "--loglevel", "WARNING", "--queues", "reconcile", "--hostname", "reconcile@%h"),
        *("--pool", "solo"),
    ]
    beat = [*celery, "beat", "--loglevel", "WARNING", "--schedule", str(around.data_dir / "beat-schedule")]

    def service(name: str, arguments: Sequence[str], stop_seconds: float = 10.0) -> Service:
        return Service(
            name=name,
            command=[sys.executable, "-m", *arguments],
            env=around.env,
            cwd=around.cwd,
            stop_seconds=stop_seconds,
        )

    return [
        service("api", uvicorn),
        service("worker", jobs, _WORKER_STOP_SECONDS),
        service("reconciler", reconcile),
        service("beat", beat),
    ]


def migrate_database(url: str) -> None:
    import migrations

    migrations.upgrade(url)


def run(
    up: Up,
    *,
    compose: Callable[[Surroundings], list[Service]] = compose_services,
    migrate: Callable[[str], None] = migrate_database,
    policy: RestartPolicy | None = None,
) -> None:
    """Start everything, keep it running, and return once Ctrl-C or SIGTERM has stopped all of it.

    DATABASE_URL and REDIS_URL, where set, are used instead of the embedded servers.

    Raises:
        EmbeddedStackError: It cannot start or go on. Nothing is left running.
    """
    data_dir = up.data_dir.expanduser().absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    local_roots = _joined(up.local_roots)
    with StopSignals() as signals, suppress(StopRequested), FolderLock(data_dir):
        Announcement.remove(data_dir)  # of one that was killed
        port = choose_port(up.host, up.port)
        with (
            ServiceLog(data_dir / "secateur.log") as log,
            Supervisor(log, policy=policy, hurry=signals.insisted) as supervisor,
        ):

            def watch() -> None:
                signals.raise_if_requested()
                supervisor.check()

            log.say(f"Starting. Data folder: {data_dir}  Log: {log.path}")
            if up.port is None and port != DEFAULT_PORT:
                log.say(f"Port {DEFAULT_PORT} is taken by another program; using {port}.")

            keys = os.environ.get(KEYS_VARIABLE) or str(not is_loopback(up.host))

            def url_or(name: str, server: EmbeddedServer) -> str:
                return os.environ.get(name) or _start_server(server, supervisor, watch)

            database_url = url_or("DATABASE_URL", EmbeddedPostgres(data_dir / "postgres"))
            redis_url = url_or("REDIS_URL", EmbeddedValkey(data_dir / "valkey"))
            migrate(database_url)
            watch()

            env = {
                **os.environ,
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "SECATEUR_DATA_DIR": str(data_dir),
                KEYS_VARIABLE: keys,
                "SECATEUR_LOCAL_ROOTS": local_roots,
                "PYTHONUNBUFFERED": "1",
            }
            around = Surroundings(
                data_dir=data_dir, host=up.host, port=port, env=env, cwd=_make_empty_folder(data_dir)
            )
            for service in compose(around):
                supervisor.start(service)

            url = url_of(up.host, port)
            _wait_for_api(url, watch)
            embedded = None if os.environ.get("DATABASE_URL") else database_url
            with _announced(Announcement(url, os.getpid(), embedded), data_dir):
                log.say("")
                log.say(f"Ready. Dashboard and API: {url}")
                log.say(f"       Data folder:       {data_dir}")
                log.say(f"       Log:               {log.path}")
                if TypeAdapter(bool).validate_python(keys):
                    log.say("       API keys:          secateur keys create NAME")
                log.say("       Stop it all:       Ctrl-C")
                log.say("")
                while True:
                    watch()
                    time.sleep(0.1)


def _start_server(server: EmbeddedServer, supervisor: Supervisor, watch: Callable[[], None]) -> str:
    server.prepare()
    supervisor.start(
        Service(
            name=server.name,
            command=server.command(),
            stop_signal=server.stop_signal,
            stop_seconds=server.stop_seconds,
        )
    )
    server.wait_until_ready(watch)
    return server.url


def _wait_for_api(url: str, watch: Callable[[], None]) -> None:
    # A proxy in the environment is for the world outside.
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:

        def answers() -> bool:
            try:
                return client.get("/readyz").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(answers, watch=watch, seconds=_READY_SECONDS, failure=f"{url}/readyz does not answer 200")


@contextmanager
def _announced(announcement: Announcement, data_dir: Path) -> Iterator[None]:
    announcement.write(data_dir)
    try:
        yield
    finally:
        Announcement.remove(data_dir)


def _joined(local_roots: Sequence[Path]) -> str:
    roots = [str(root.expanduser().absolute()) for root in local_roots]
    for root in roots:
        if ":" in root:
            raise EmbeddedStackError(f"A folder with ':' in its name cannot be a local root: {root}")
    return ":".join(roots)


def _make_empty_folder(data_dir: Path) -> Path:
    """Make the folder the services work in.

    Python, uvicorn and Celery look for modules in the current folder first. A folder of the user's called
    `api`, or our own `registry` in the data folder, would hide ours.
    """
    folder = data_dir / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
