"""The code that a checkpoint brings, and whether the operator lets it run.

An entry of the allow-list is `name@revision`: a Hub id with the commit it was read at, or a folder with the SHA-256
digest of its code. Neither can come to mean other code than what the operator looked at.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

TRUST_SETTING = "SECATEUR_TRUSTED_REMOTE_CODE"

Trusted = Collection[str]
"""The entries of the allow-list."""

_ENTRY = re.compile(r"[^/@]+(/[^/@]+)?@[0-9a-f]{40}|/.+@[0-9a-f]{64}")


def parse_trusted(text: str) -> tuple[str, ...]:
    """Read an allow-list, its entries separated by commas.

    Raises:
        ValueError: an entry that does not pin what may run.
    """
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    for entry in entries:
        if not _ENTRY.fullmatch(entry):
            raise ValueError(
                f"{entry!r} does not say which code may run. Write owner/name@ and the whole commit, 40 hexadecimal "
                "digits, or /path/of/a/folder@ and the SHA-256 digest that a refused request names."
            )
    return entries


def code_of_others(auto_map: object) -> list[str]:
    """The classes that an `auto_map` takes from other repositories, written repository--module.Class."""
    if isinstance(auto_map, str):
        return [auto_map] if "--" in auto_map else []
    inner = (
        auto_map.values() if isinstance(auto_map, dict) else auto_map if isinstance(auto_map, list) else ()
    )
    return [name for part in inner for name in code_of_others(part)]


@dataclass(frozen=True)
class ModelCode:
    """The Python files of a checkpoint, read once, so that what was looked at is what runs.

    Attributes:
        files: their contents, by their paths in the checkpoint's folder.
    """

    files: Mapping[PurePosixPath, bytes]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read every .py file under `folder`."""
        paths = sorted(path for path in folder.rglob("*.py") if path.is_file())
        return cls({PurePosixPath(path.relative_to(folder).as_posix()): path.read_bytes() for path in paths})

    @property
    def digest(self) -> str:
        """SHA-256 over the names and the digests of the files."""
        total = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            total.update(f"{hashlib.sha256(content).hexdigest()}  {path}\0".encode())
        return total.hexdigest()

    def write(self, folder: Path) -> None:
        for path, content in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
