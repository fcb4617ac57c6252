"""Start, watch, restart and stop child processes.

Ours because supervisord gives no single prefixed log (and trips over /dev/stdout's permissions under `su`),
and honcho does not restart what died.
"""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from cli.embedded.errors import ServiceFailedError
from cli.embedded.lifeline import dying_with_parent
from cli.embedded.log import ServiceLog

_LAST_LINES = 20
_DRAIN_SECONDS = 5
"""For the last lines of what has ended; a busy machine needs some of it, and a pipe that somebody holds all."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A child process that has to be there, and how to end it."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None  # None: ours
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """The n-th failure within `window` seconds waits `first_delay` · 2ⁿ⁻¹; the `failures`-th ends everything."""

    first_delay: float = 0.5
    failures: int = 5
    window: float = 60.0

    def delay(self, failures: int) -> float:
        return self.first_delay * 2.0 ** (failures - 1)


class Supervisor:
    """A context manager around services: whatever ends the block, no process of theirs is left.

    `start` and `check` belong to one thread that stays: the kernel kills the services when that thread ends.
    """

    def __init__(
        self,
        log: ServiceLog,
        *,
        policy: RestartPolicy | None = None,
        hurry: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare to write to `log`; once `hurry` returns true, stopping no longer waits."""
        self._log = log
        self._policy = policy or RestartPolicy()
        self._hurry = hurry
        self._children: list[_Child] = []

    def start(self, service: Service) -> None:
        self._children.append(_Child(service, self._log, self._policy))

    def check(self) -> None:
        """Restart what has exited and waited long enough. Call it often.

        Raises:
            ServiceFailedError: A service fails again and again.
        """
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop one service after the other, the last started first, so that each still finds those below it."""
        with ExitStack() as stops:  # runs backwards, and goes on where one of them raises
            for child in self._children:
                stops.callback(child.stop, self._hurry)
            self._children = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Child:
    def __init__(self, service: Service, log: ServiceLog, policy: RestartPolicy) -> None:
        self._service = service
        self._log = log
        self._policy = policy
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._failures: deque[float] = deque()
        self._restart_at = 0.0
        self._process: subprocess.Popen[str] | None = None  # None: it ended and waits for its next start
        self.check()

    def check(self) -> None:
        if self._process is None:
            if time.monotonic() >= self._restart_at:
                self._spawn()
        elif self._process.poll() is not None:
            self._bury(self._process)

    def stop(self, hurry: Callable[[], bool]) -> None:
        if self._process is None:
            return
        self._log.say(f"Stopping {self._service.name}")
        family = _descendants(self._process.pid)
        self._process.send_signal(self._service.stop_signal)
        deadline = time.monotonic() + self._service.stop_seconds
        while self._process.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)
        _kill_group(self._process.pid)
        for process in family:
            # Those in groups of their own, such as the worker's pruning child.
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._reader.join(_DRAIN_SECONDS)

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            dying_with_parent(self._service.command, signal.SIGKILL),
            env=self._service.env,
            cwd=self._service.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._last_lines.append(line.rstrip("\n"))
                self._log.write(self._service.name, line.rstrip("\n"))

    def _bury(self, process: subprocess.Popen[str]) -> None:
        self._process = None
        _kill_group(process.pid)
        self._reader.join(_DRAIN_SECONDS)
        now = time.monotonic()
        self._failures.append(now)
        while self._failures[0] < now - self._policy.window:
            self._failures.popleft()
        name, ending = self._service.name, _ending(process.returncode)
        if len(self._failures) >= self._policy.failures:
            raise ServiceFailedError(
                f"{name} {ending}, {len(self._failures)} times within {self._policy.window:.0f} s. "
                f"The whole log: {self._log.path}. Its last lines:\n" + "\n".join(self._last_lines)
            )
        delay = self._policy.delay(len(self._failures))
        self._log.say(f"{name} {ending}; starting it again in {delay:.1f} s")
        self._restart_at = now + delay


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
