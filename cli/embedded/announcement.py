"""How other commands find the service that runs on a data folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Announcement:
    """Where the API listens, and the process of `secateur up` behind it.

    `database_url` is that of the embedded Postgres, which has no password; None if another is used.
    """

    url: str
    pid: int
    database_url: str | None = None

    def write(self, data_dir: Path) -> None:
        """Announce the service; a reader sees all of it or nothing."""
        aside = data_dir / "service.json.new"
        aside.write_text(json.dumps(asdict(self)) + "\n")
        aside.replace(_path(data_dir))

    @classmethod
    def read(cls, data_dir: Path) -> Self | None:
        """Return what is announced, or None if nothing is or its process is gone."""
        try:
            found = cls(**json.loads(_path(data_dir).read_text()))
            os.kill(found.pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return None
        except PermissionError:
            pass  # it lives, under another user
        return found

    @staticmethod
    def remove(data_dir: Path) -> None:
        _path(data_dir).unlink(missing_ok=True)


def _path(data_dir: Path) -> Path:
    return data_dir / "service.json"
