import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.embedded.errors import FolderInUseError


class FolderLock:
    """Only one `secateur up` per data folder. The kernel frees the lock when its holder dies."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            FolderInUseError: Another process holds it; the message names it.
        """
        self._file = (self._data_dir / "up.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            raise FolderInUseError(
                f"Secateur already runs on {self._data_dir} (process {holder}). Stop it with Ctrl-C or "
                f"`kill {holder}`, or give another folder with --data."
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
