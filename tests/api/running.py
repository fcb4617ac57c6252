"""`uvicorn api.app:app` as a process, the way everybody starts it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from jobs.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SECATEUR_DATA_DIR": str(settings.data_dir),
        **({"SECATEUR_REGISTRY_URL": settings.registry_url} if settings.registry_url else {}),
        "SECATEUR_REQUIRE_API_KEYS": str(settings.require_api_keys),
        "SECATEUR_LOG_FORMAT": settings.log_format,
        "SECATEUR_LOCAL_ROOTS": ":".join(str(root) for root in settings.local_roots),
    }


@contextmanager
def running_api(settings: Settings, log: Path) -> Iterator[str]:
    """Start the API, give its address once it answers, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "api.app:app", "--port", str(port), "--http", "h11"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(settings), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, log)
        yield url
    finally:
        process.terminate()
        assert process.wait(timeout=20) in (0, -15), log.read_text()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(f"{url}/healthz", trust_env=False, timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())
