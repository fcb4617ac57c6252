"""A supervisor as its child process sees it: lines come in, messages go out."""

import os
import queue
import sys
import threading

from worker.assignment import Message


class Parent:
    """The supervisor at the other end of the standard streams. When it ends, however it ends, so does this process."""

    def __init__(self) -> None:
        # For messages alone; what libraries print goes to the standard error.
        self._messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def hear(self) -> str:
        """Wait for the next line; the first is the assignment."""
        return self._lines.get()

    def tell(self, kind: str, data: dict[str, object]) -> None:
        self._messages.write(Message(kind=kind, data=data).model_dump_json() + "\n")
        self._messages.flush()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        # At once, whatever the other threads do: nobody holds the other end any more.
        os._exit(1)
