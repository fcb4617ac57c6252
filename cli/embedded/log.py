import logging
import os
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TextIO

from rich.console import Console
from rich.text import Text

_BYTES = 10_000_000
_OLD_FILES = 5
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta")
_OURSELVES = "secateur"


class ServiceLog:
    """Every line of every service, prefixed by the service's name: to our stdout, and to one rotating file.

    In the file our own lines have the time, as every service's have by themselves. Reader threads share it.
    """

    def __init__(self, path: Path, stream: TextIO = sys.stdout) -> None:
        self.path = path
        self._stream = stream
        self._console = _PlainConsole(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._file = RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_OLD_FILES, encoding="utf-8")
        self._file.setFormatter(logging.Formatter("%(name)-10s | %(message)s"))
        self._colours: dict[str, str] = {_OURSELVES: "bold"}

    def say(self, line: str) -> None:
        """Write a line of our own."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._keep(_OURSELVES, f"{now} {line}")
        self._show(_OURSELVES, line)

    def write(self, name: str, line: str) -> None:
        self._keep(name, line)
        self._show(name, line)

    def _keep(self, name: str, line: str) -> None:
        record = {"name": name, "levelno": logging.INFO, "levelname": "INFO", "msg": line}
        self._file.handle(logging.makeLogRecord(record))

    def _show(self, name: str, line: str) -> None:
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        try:
            self._console.print(Text.assemble((f"{name:<10} | ", colour), line))
        except OSError:
            self._leave_console()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _leave_console(self) -> None:
        # `secateur up | head`, or a terminal that was closed: a reader thread that died of it would let its
        # service block on a full pipe.
        if not self._console.quiet:
            self._console.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self.say("Nobody reads our output any more; the log goes on in this file.")


class _PlainConsole(Console):
    def on_broken_pipe(self) -> NoReturn:
        # Rich would end the process here.
        raise BrokenPipeError
