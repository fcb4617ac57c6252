"""The fork server as the supervisor sees it: asked for a child, it gives one. Never imports torch."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import Final, TextIO

STATUS: Final = struct.Struct("!i")
"""What comes along a leash: the child's process id at first, and at last its exit code or minus a signal."""

READY: Final = b"!"
"""What comes along the control socket once everything is imported."""


class Forked:
    """A child that was forked.

    Attributes:
        stdin: where it reads.
        stdout: where it writes.
        pid: its process id, and its process group's.
    """

    def __init__(self, stdin: TextIO, stdout: TextIO, leash: socket.socket, pid: int) -> None:
        """Take what `ForkServer.fork` opened; `leash` is the one whose other end the fork server holds."""
        self.stdin = stdin
        self.stdout = stdout
        self._leash = leash
        self.pid = pid
        self._exit_code: int | None = None

    def wait(self) -> int | None:
        """Wait for its end.

        Returns:
            The exit code, or minus the signal that killed it; None if the fork server ended before, and cannot say.
        """
        if self._exit_code is None and (told := self._leash.recv(STATUS.size)):
            self._exit_code = _unpacked(told)
        return self._exit_code

    def kill(self) -> None:
        """Kill it and whatever it started, and wait until it is gone; nothing if it is gone already."""
        if self._exit_code is not None:
            return
        with suppress(OSError):  # the fork server is gone
            self._leash.shutdown(socket.SHUT_WR)
        if self.wait() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close what was opened for it, once it is gone."""
        self._leash.close()
        self.stdout.close()
        with suppress(BrokenPipeError):  # half a line was still to be written
            self.stdin.close()


class ForkServer:
    """Starts children by a process that has imported torch, see `worker.fork_server`; again if that has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._greeted = False

    def start(self) -> None:
        """Have it begin to import what it needs."""
        with self._lock:
            self._running()

    def wait_until_ready(self) -> None:
        """Start it if it is not there, and wait until it can fork at once.

        Raises:
            ChildProcessError: the fork server cannot start.
        """
        with self._lock:
            self._ready()

    def fork(self, module: str) -> Forked:
        """Start a child that runs the `main` of `worker.child` or `worker.share_child`.

        Raises:
            ChildProcessError: the fork server cannot start.
        """
        with self._lock:
            forked = self._ask(module)
            if forked is None:
                self._stop()
                forked = self._ask(module)
            if forked is None:
                raise ChildProcessError(
                    "the process that starts children ended twice; the log above says why"
                )
            return forked

    def _ask(self, module: str) -> Forked | None:
        control = self._ready()
        with suppress(BrokenPipeError, ConnectionResetError):
            return ask(control, module)
        return None

    def _ready(self) -> socket.socket:
        """Give the control socket of a server that has imported everything.

        Raises:
            ChildProcessError: the fork server cannot start.
        """
        control = self._running()
        if not self._greeted:
            with suppress(ConnectionResetError):
                self._greeted = control.recv(len(READY)) == READY
            if not self._greeted:
                self._stop()
                raise ChildProcessError(
                    "the process that starts children ended at once; the log above says why"
                )
        elif _has_ended(control):
            self._stop()
            return self._ready()
        return control

    def close(self) -> None:
        """End it, and the children that are left."""
        with self._lock:
            self._stop()

    def _running(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "worker.fork_server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                )
        return self._control

    def _stop(self) -> None:
        if self._process is not None and not self._greeted:
            self._process.kill()  # it has no children yet, and would import everything before it hears of its end
        if self._control is not None:
            self._control.close()
            self._control = None
            self._greeted = False
        if self._process is not None:
            self._process.wait()
            self._process = None


def ask(control: socket.socket, module: str) -> Forked | None:
    """Ask for a child; None if the server ended instead."""
    with ExitStack() as opened:
        their_stdin, stdin = os.pipe()
        stdout, their_stdout = os.pipe()
        leash, their_leash = socket.socketpair()
        forked_files = (
            opened.enter_context(os.fdopen(stdin, "w", encoding="utf-8")),
            opened.enter_context(os.fdopen(stdout, encoding="utf-8")),
            opened.enter_context(leash),
        )
        try:
            socket.send_fds(control, [module.encode()], [their_stdin, their_stdout, their_leash.fileno()])
        finally:
            os.close(their_stdin)
            os.close(their_stdout)
            their_leash.close()
        told = leash.recv(STATUS.size)
        if not told:
            return None
        opened.pop_all()
        return Forked(*forked_files, pid=_unpacked(told))


def _has_ended(control: socket.socket) -> bool:
    """Tell whether the server is gone: after its greeting it says nothing here."""
    readable, _, _ = select.select([control], [], [], 0)
    return bool(readable)


def _unpacked(told: bytes) -> int:
    number: int = STATUS.unpack(told)[0]
    return number


def _environment() -> dict[str, str]:
    """Ours, without the way to the database and the broker, which a process that runs model code must not have."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")
    }
    # Bars are for terminals; in a log they are a line per step. To ask CUDA whether it is there would spoil it for
    # children that are forked; to ask the driver's library does not. A title must leave the environment readable.
    return {
        **inherited,
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "SPT_NOENV": "1",
    }
