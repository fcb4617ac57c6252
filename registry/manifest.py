"""Which files a checkpoint consists of, and their digests."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, StringConstraints, ValidationError

MANIFEST_NAME, COMMIT_NAME = MANIFEST_NAMES = "manifest.json", "manifest.sha1"
"""The latter tells whether the former is as it was published; `sha1sum -c` reads it too."""

_AFTER_DIGEST = f"  {MANIFEST_NAME}\n"


class ManifestFile(BaseModel):
    """One file: its path inside the checkpoint, its size and its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class DamagedManifestError(ValueError):
    """A manifest is not what was published.

    Attributes:
        expected: its SHA-1 when it was published, as far as that can be read.
        found: its SHA-1 now, or what is there instead.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"its SHA-1 should be {expected}, and is {found}")
        self.expected = expected
        self.found = found


class Manifest(BaseModel):
    """A published checkpoint's name, the job that made it, when it was published, and its files."""

    name: str
    job_id: str
    published_at: datetime
    files: list[ManifestFile]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint's folder, with its digest."""
        content = encode_manifest(self)
        (folder / MANIFEST_NAME).write_text(content.decode(), encoding="utf-8")
        (folder / COMMIT_NAME).write_text(commit_line(commit_of(content)), encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> tuple["Manifest", str]:
        """Read the manifest of a checkpoint's folder, and its commit: its SHA-1, 40 hexadecimal digits.

        Raises:
            DamagedManifestError: there is none, or not the one that was published.
        """
        try:
            line = (folder / COMMIT_NAME).read_text(encoding="utf-8", errors="replace")
            expected = line.removesuffix(_AFTER_DIGEST)
        except (FileNotFoundError, NotADirectoryError):
            expected = "unknown"
        try:
            content = (folder / MANIFEST_NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedManifestError(expected, "missing") from None
        return decode_manifest(content, expected), expected


def describe_files(folder: Path) -> list[ManifestFile]:
    """Digest every file below `folder`, the manifest itself aside, in the order of their paths."""
    own = [folder / name for name in MANIFEST_NAMES]
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path not in own)
    return [
        ManifestFile(
            path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256_of(path)
        )
        for path in paths
    ]


def sha256_of(path: Path) -> str:
    """Digest a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """Give what is published of a manifest."""
    return manifest.model_dump_json(indent=2).encode()


def decode_manifest(content: bytes, expected: str) -> Manifest:
    """Read what was published as the commit `expected`.

    Raises:
        DamagedManifestError: this is not it.
    """
    found = commit_of(content)
    if found != expected:
        raise DamagedManifestError(expected, found)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError:
        raise DamagedManifestError(expected, "no manifest of ours") from None


def commit_of(content: bytes) -> str:
    """Give the commit of a published manifest: its SHA-1."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def commit_line(commit: str) -> str:
    """Give what is written beside a manifest, for `sha1sum -c`."""
    return f"{commit}{_AFTER_DIGEST}"
