"""Everything here runs the real binaries."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cli.embedded.announcement import Announcement
from cli.embedded.log import ServiceLog
from cli.embedded.postgres import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).with_name("stand_ins.py")


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Launched:
    """A `secateur up` with stand-ins for the API and the worker, in a process of its own."""

    data_dir: Path
    process: subprocess.Popen[str]
    family: list[psutil.Process] = field(default_factory=list)

    def wait_until_ready(self) -> Announcement:
        eventually(lambda: Announcement.read(self.data_dir) or self.process.poll() is not None, 20)
        announcement = Announcement.read(self.data_dir)
        assert announcement is not None, self.process.communicate()[0]
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return announcement

    def names(self) -> set[str]:
        return {process.name() for process in self.family}

    def survivors(self) -> list[psutil.Process]:
        return [process for process in self.family if alive(process)]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Launch = Callable[..., Launched]


@pytest.fixture
def launch() -> Iterator[Launch]:
    started: list[Launched] = []

    def start(data_dir: Path, *arguments: str, **env: str) -> Launched:
        inherited = {
            key: os.environ[key]
            for key in os.environ.keys() - {"DATABASE_URL", "REDIS_URL", "PYTHONUNBUFFERED"}
        }
        process = subprocess.Popen(
            [sys.executable, STAND_INS, data_dir, *arguments],
            env={**inherited, "PYTHONPATH": str(ROOT), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(Launched(data_dir, process))
        return started[-1]

    yield start
    for launched in started:
        launched.process.kill()
        launched.process.communicate()
        for process in launched.survivors():
            process.kill()


@pytest.fixture
def console() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(tmp_path: Path, console: io.StringIO) -> Iterator[ServiceLog]:
    with ServiceLog(tmp_path / "secateur.log", console) as log:
        yield log


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user could enter; pytest's own are closed to all but us."""
    folder = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("made") / "postgres", durable=False)
    server.prepare()
    return server.folder


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    """A folder of Postgres with a cluster in it, cheaper than initdb."""
    return shutil.copytree(made_once, tmp_path / "postgres")


@pytest.fixture
def data_dir(folder: Path) -> Path:
    """A data folder that has been used before."""
    return folder.parent
