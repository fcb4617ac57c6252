"""What the embedded Postgres and the embedded Valkey have in common: a folder, a socket, a life."""

import atexit
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import ClassVar, Self

from cli.embedded.errors import ServiceFailedError
from cli.embedded.folders import make_private
from cli.embedded.waiting import wait_until

# The kernel takes 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 100

# After a power cut Postgres reads its log again before it answers.
_READY_SECONDS = 60.0


class EmbeddedServer(ABC):
    """A database server that lives in one private folder and listens on a Unix socket only.

    Whoever can enter the folder may use it without a password; its mode is 0700.

    Two ways to run it. Under a supervisor: `prepare()`, start `command()`, `wait_until_ready(watch)`. Or as a
    context manager, which is what tests want. Either way it ends with the thread that started it.
    """

    name: ClassVar[str]
    socket_name: ClassVar[str]
    stop_signal: ClassVar[Signals]
    stop_seconds: ClassVar[float] = 30.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask the server for an answer, once."""

    @property
    def owner(self) -> int:
        """The user id that owns the server's files."""
        return os.geteuid()

    @cached_property
    def socket_folder(self) -> Path:
        """The server's folder, or a private temporary one where no socket could be reached by that path."""
        path = os.fsencode(self.folder / self.socket_name)
        # To a Postgres client a comma in it separates two hosts.
        if len(path) <= _LONGEST_SOCKET_PATH and b"," not in path:
            return self.folder
        short = Path(tempfile.mkdtemp(prefix="secateur-"))
        atexit.register(shutil.rmtree, short, ignore_errors=True)
        return short

    def prepare(self) -> None:
        """Make the folders that the server needs before it is started."""
        make_private(self.folder, self.owner)
        make_private(self.socket_folder, self.owner)

    def wait_until_ready(self, watch: Callable[[], None]) -> None:
        """Return once the server answers; `watch` is called in between and may raise."""
        wait_until(self.is_ready, watch=watch, seconds=_READY_SECONDS, failure=f"{self.name} does not answer")

    def __enter__(self) -> Self:
        self.prepare()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for us; we stop the server ourselves
            )
        try:
            self.wait_until_ready(self._raise_if_exited)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server, when used as a context manager."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started by this object")
        return self._process

    @property
    def _output(self) -> Path:
        return self.folder / "output.log"

    def _raise_if_exited(self) -> None:
        if self.process.poll() is not None:
            lines = self._output.read_text(errors="replace").splitlines()[-20:]
            raise ServiceFailedError(
                f"{self.name} exited with {self.process.returncode}. Its last lines:\n" + "\n".join(lines)
            )

    def _stop(self) -> None:
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
