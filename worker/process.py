"""A child process as its supervisor sees it: lines go in, messages come out, and it can be killed."""

import queue
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ValidationError

from worker.assignment import Message
from worker.forking import ForkServer


class ChildProcess:
    """One child in a process group of its own, so that nothing it started outlives it.

    Its standard input stays open for as long as the supervisor lives: at its end the child ends itself, which works
    even when the supervisor is killed by signal 9.
    """

    def __init__(self, fork_server: ForkServer, module: str, assignment: BaseModel) -> None:
        """Start `module` with an assignment of its kind.

        Raises:
            ChildProcessError: no child can be started here.
        """
        self._process = fork_server.fork(module)
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

    def wait(self) -> int | None:
        """Wait for the end: the exit code, or minus the signal that killed it, or None if nobody can say."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill the child and whatever it started."""
        self._process.kill()
        for thread in (self._reader, *self._writers):
            thread.join()
        self._process.close()

    def _write(self, line: str) -> None:
        # Suppressed: it has ended, and its exit code tells why.
        with suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        for line in self._process.stdout:
            try:
                self._messages.put(Message.model_validate_json(line))
            except ValidationError:
                # Half a line: the child was killed while it wrote it.
                break
        self._messages.put(None)
