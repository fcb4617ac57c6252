"""A child process as its supervisor sees it: lines go in, messages come out, and it can be killed."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ValidationError

from worker.assignment import Message


class ChildProcess:
    """One child in a process group of its own, so that nothing it started outlives it.

    Its standard input stays open for as long as the supervisor lives: at its end the child ends itself, which works
    even when the supervisor is killed by signal 9.
    """

    def __init__(self, module: str, assignment: BaseModel) -> None:
        """Start `python -m module` with an assignment of its kind."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env=_environment(),
        )
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._writers: list[threading.Thread] = []
        self.tell(assignment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    def next_message(self, timeout: float) -> Message | None:
        """Wait for the child's next message.

        Returns:
            The message, or None when the child has closed its output: it has ended or is about to.

        Raises:
            TimeoutError: the child said nothing for `timeout` seconds.
        """
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None

    def tell(self, line: BaseModel) -> None:
        """Give the child a line, and return at once: one that does not read must not keep us from killing it."""
        writer = threading.Thread(target=self._write, args=[line.model_dump_json() + "\n"], daemon=True)
        writer.start()
        self._writers.append(writer)

    def wait(self) -> int:
        """Wait for the end: the exit code, or minus the signal that killed it."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill the child and whatever it started, and reap it."""
        # Suppressed: it had ended, and so had its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for thread in (self._reader, *self._writers):
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            # Suppressed: half a line was still to be written.
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  a pipe was asked for
        # Suppressed: it has ended, and its exit code tells why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  a pipe was asked for
        for line in self._process.stdout:
            try:
                self._messages.put(Message.model_validate_json(line))
            except ValidationError:
                # Half a line: the child was killed while it wrote it.
                break
        self._messages.put(None)


def _environment() -> dict[str, str]:
    """Ours, without the way to the database and the broker, which a process that runs model code must not have."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")
    }
    # Bars are for terminals; in a log they are a line per step.
    return {**inherited, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
