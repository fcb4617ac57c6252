"""Which files a checkpoint consists of, and their digests."""

import hashlib
from pathlib import Path

from pydantic import BaseModel

MANIFEST_NAME = "manifest.json"


class ManifestFile(BaseModel):
    """One file: its path inside the checkpoint, its size and its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """A published checkpoint's name, the job that made it, and its files."""

    name: str
    job_id: str
    files: list[ManifestFile]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def describe_files(folder: Path) -> list[ManifestFile]:
    """Digest every file below `folder`, the manifest itself aside, in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    return [_describe(path, folder) for path in paths]


def _describe(path: Path, folder: Path) -> ManifestFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return ManifestFile(
        path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=digest.hexdigest()
    )
