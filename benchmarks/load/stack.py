"""The service under load: embedded Postgres and Valkey, both as durable as in `secateur up`, and uvicorn processes."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

import migrations
from cli.embedded.address import choose_port
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.valkey import EmbeddedValkey
from cli.embedded.waiting import wait_until
from jobs.settings import Settings

HOST = "127.0.0.1"
SECATEUR, BARE = "api.app:app", "benchmarks.load.bare:app"


@contextmanager
def running_servers(folder: Path, local_roots: tuple[Path, ...]) -> Iterator[Settings]:
    """Start Postgres with the schema, and Valkey, and give the settings that lead to them."""
    with EmbeddedPostgres(folder / "postgres") as postgres, EmbeddedValkey(folder / "valkey") as valkey:
        migrations.upgrade(postgres.url)
        yield Settings(
            database_url=postgres.url,
            redis_url=valkey.url,
            data_dir=folder / "data",
            local_roots=local_roots,
            require_api_keys=False,
        )


class Server:
    """A uvicorn that answers."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = psutil.Process(process.pid)

    @property
    def resident_bytes(self) -> int:
        family = [self._process, *self._process.children(recursive=True)]
        return sum(process.memory_info().rss for process in family)


@contextmanager
def serving(app: str, settings: Settings, log: Path, workers: int = 1) -> Iterator[Server]:
    """Run an application in uvicorn with the same settings whatever it is."""
    port = choose_port(HOST, 0)
    command = [sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port)]
    command += ["--workers", str(workers), "--timeout-graceful-shutdown", "5"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=_environment(settings), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://{HOST}:{port}"
        _wait(url, process, log)
        yield Server(url, process)
    finally:
        process.terminate()
        process.wait()


def _environment(settings: Settings) -> Mapping[str, str]:
    return os.environ | {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SECATEUR_DATA_DIR": str(settings.data_dir),
        "SECATEUR_LOCAL_ROOTS": ":".join(map(str, settings.local_roots)),
        "SECATEUR_REQUIRE_API_KEYS": str(settings.require_api_keys),
    }


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def watch() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"uvicorn ended:\n{log.read_text()}")

    # A proxy in the environment is for the world outside.
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:

        def answers() -> bool:
            try:
                return client.get("/healthz").is_success
            except httpx.TransportError:
                return False

        wait_until(answers, watch=watch, seconds=60, failure=f"{url} does not answer")
