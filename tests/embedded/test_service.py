import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cli.embedded.announcement import Announcement
from cli.embedded.errors import EmbeddedStackError
from cli.embedded.processes import Service
from cli.embedded.service import Surroundings, Up, compose_services, run
from cli.embedded.valkey import EmbeddedValkey
from tests.embedded.conftest import Launch, eventually


def test_up_and_down_again(tmp_path: Path, launch: Launch) -> None:
    data = tmp_path / "made" / "data"
    up = launch(data)
    announcement = up.wait_until_ready()
    database = (
        f"postgresql+psycopg://secateur@/secateur?host={str(data).replace('/', '%2F')}%2Fpostgres&port=5432"
    )
    assert json.loads((data / "service.json").read_text()) == {
        "url": announcement.url,
        "pid": up.process.pid,
        "database_url": database,
    }
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(announcement.url) as answer:
        assert answer.status == 200
    assert {"postgres", "valkey-server", "sleep", "sh"} <= up.names()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700

    up.process.send_signal(signal.SIGINT)
    output, _ = up.process.communicate(timeout=20)
    assert up.process.returncode == 0, output
    assert up.survivors() == []
    assert not (data / "service.json").exists()

    first, *_ = output.splitlines()
    assert str(data) in first
    assert str(data / "secateur.log") in first
    assert f"Dashboard and API: {announcement.url}" in output
    written = (data / "secateur.log").read_text()
    for line in ("postgres   | ", "valkey     | ", "api        | Serving HTTP on ", "worker     | "):
        assert line in output
        assert line in written
    for variable in (
        f"DATABASE_URL={database}\n",
        f"REDIS_URL=redis+socket://{data}/valkey/valkey.sock",
        f"SECATEUR_DATA_DIR={data}\n",
        "SECATEUR_LOCAL_ROOTS=/models:/texts\n",
        "SECATEUR_REQUIRE_API_KEYS=False\n",
    ):
        assert f"worker     | {variable}" in output


def names(processes: Iterable[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.add(process.name())
    return found


def test_kill_9_leaves_nothing_and_the_next_one_finds_the_data(data_dir: Path, launch: Launch) -> None:
    killed = launch(data_dir)
    killed.wait_until_ready()
    killed.process.kill()
    killed.process.wait()
    # What a service starts has to tie itself to the service; ours are the services.
    eventually(lambda: names(killed.survivors()) <= {"sleep"}, 5)
    assert Announcement.read(data_dir) is None

    again = launch(data_dir)
    again.wait_until_ready()
    again.process.send_signal(signal.SIGTERM)
    output, _ = again.process.communicate(timeout=20)
    assert again.process.returncode == 0, output
    assert "starts: (2,)" in output
    assert again.survivors() == []


def test_second_one_on_the_same_folder_is_refused(data_dir: Path, launch: Launch) -> None:
    first = launch(data_dir)
    first.wait_until_ready()
    second = launch(data_dir)
    output, _ = second.process.communicate(timeout=20)
    assert second.process.returncode == 1
    assert output.startswith("FolderInUseError")
    assert str(first.process.pid) in output
    assert Announcement.read(data_dir) is not None
    assert first.process.poll() is None


def test_taken_port_is_refused_before_anything_starts(tmp_path: Path, launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        up = launch(tmp_path, "--port", str(port))
        output, _ = up.process.communicate(timeout=20)
    assert up.process.returncode == 1
    assert output.startswith(f"AddressError: Port {port}")
    assert not (tmp_path / "postgres").exists()


def test_urls_from_the_environment_are_used_instead(tmp_path: Path, launch: Launch) -> None:
    given = "postgresql+psycopg://user@db.internal/secateur"
    with EmbeddedValkey(tmp_path / "other") as valkey:
        up = launch(tmp_path / "data", "--no-migrations", DATABASE_URL=given, REDIS_URL=valkey.url)
        up.wait_until_ready()
        assert not up.names() & {"postgres", "valkey-server"}
        announced = (tmp_path / "data" / "service.json").read_text()
        up.process.send_signal(signal.SIGINT)
        output, _ = up.process.communicate(timeout=20)
    assert f"DATABASE_URL={given}\n" in output
    assert f"REDIS_URL={valkey.url}\n" in output
    # It may hold a password.
    assert given not in announced


@pytest.mark.parametrize(
    ("host", "env", "required"),
    [
        ("0.0.0.0", {}, "True"),  # noqa: S104  binding everywhere is what is tested
        ("0.0.0.0", {"SECATEUR_REQUIRE_API_KEYS": "no"}, "no"),  # noqa: S104
        ("localhost", {"SECATEUR_REQUIRE_API_KEYS": "yes"}, "yes"),
    ],
)
def test_keys_are_required_of_other_machines_or_as_the_operator_says(
    host: str, env: dict[str, str], required: str, data_dir: Path, launch: Launch
) -> None:
    up = launch(data_dir, "--host", host, **env)
    up.wait_until_ready()
    up.process.send_signal(signal.SIGINT)
    output, _ = up.process.communicate(timeout=20)
    assert f"SECATEUR_REQUIRE_API_KEYS={required}\n" in output
    assert ("secateur keys create" in output) == (required != "no")


def test_service_that_cannot_start_ends_all_of_it(data_dir: Path, launch: Launch) -> None:
    up = launch(data_dir, "--broken")
    eventually(lambda: "no such model" in read(data_dir / "secateur.log"))
    up.family = psutil.Process(up.process.pid).children(recursive=True)
    assert "postgres" in up.names()
    output, _ = up.process.communicate(timeout=30)
    assert up.process.returncode == 1
    assert "worker exited with 3, 5 times" in output
    assert output.endswith("no such model\n")
    assert up.survivors() == []
    assert Announcement.read(data_dir) is None


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_stop_while_it_is_starting(data_dir: Path, launch: Launch) -> None:
    up = launch(data_dir)
    eventually(lambda: "Starting" in read(data_dir / "secateur.log"))
    up.process.send_signal(signal.SIGINT)
    output, _ = up.process.communicate(timeout=20)
    assert up.process.returncode == 0, output
    # Not just "Ready": Valkey's own log says that it is ready to accept connections, if it got as far.
    assert "Dashboard and API" not in output


def test_local_root_with_a_colon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedStackError, match="a:b"):
        run(Up(data_dir=tmp_path, local_roots=[Path("a:b")]))


def composed(tmp_path: Path) -> dict[str, Service]:
    env = {"DATABASE_URL": "postgresql+psycopg://…"}
    around = Surroundings(data_dir=tmp_path, host="127.0.0.1", port=8123, env=env, cwd=tmp_path / "run")
    return {service.name: service for service in compose_services(around)}


def test_the_real_services(tmp_path: Path) -> None:
    services = composed(tmp_path)
    assert list(services) == ["api", "worker", "reconciler", "beat"]
    assert all(service.env == {"DATABASE_URL": "postgresql+psycopg://…"} for service in services.values())
    assert services["api"].command[:4] == [sys.executable, "-m", "uvicorn", "api.app:app"]
    assert services["worker"].stop_seconds > services["api"].stop_seconds


@pytest.mark.parametrize("name", ["api", "worker", "reconciler", "beat"])
def test_the_real_programs_take_our_options(tmp_path: Path, name: str) -> None:
    """`--help` after a wrong option still complains about that."""
    command = [part if part != "worker.app" else "stand_in_app" for part in composed(tmp_path)[name].command]
    (tmp_path / "stand_in_app.py").write_text("from celery import Celery\napp = Celery('stand-in')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*command, "--help"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
