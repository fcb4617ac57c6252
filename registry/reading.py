"""What is published in the local registry, as those see it who read it: repositories with one commit each."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.manifest import MANIFEST_NAME, Manifest, ManifestFile

MAIN = "main"
SHORTEST_COMMIT = 7
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint.

    Attributes:
        commit: 40 hexadecimal digits that are of this checkpoint alone: the SHA-1 of its manifest.
        folder: where its files lie.
        published_at: when it appeared.
    """

    manifest: Manifest
    commit: str
    folder: Path
    published_at: datetime

    def is_at(self, revision: str) -> bool:
        """Tell whether a revision is this one: `main`, the commit, or enough digits that the commit begins with."""
        return revision == MAIN or (len(revision) >= SHORTEST_COMMIT and self.commit.startswith(revision))

    def file(self, path: str) -> tuple[ManifestFile, Path] | None:
        """Find a file by its path in the checkpoint, and where it lies.

        Only what the manifest names is one, and only while it lies in the checkpoint: whoever can write to the
        registry could have put a link in its place.
        """
        named = next((file for file in self.manifest.files if file.path == path), None)
        if named is None:
            return None
        place = (self.folder / named.path).resolve()
        return (named, place) if place.is_relative_to(self.folder) and place.is_file() else None


def find_checkpoint(root: Path, owner: str, name: str) -> Checkpoint | None:
    """Find what was published as `owner/name`; None if there is nothing, or nothing of ours."""
    if not (_PART.fullmatch(owner) and _PART.fullmatch(name)):
        return None
    return _read(root.resolve() / owner / name)


def list_checkpoints(root: Path) -> Iterator[Checkpoint]:
    """Give everything that is published, by name."""
    for path in sorted(root.resolve().glob(f"[!.]*/*/{MANIFEST_NAME}")):
        checkpoint = _read(path.parent)
        if checkpoint is not None:
            yield checkpoint


def _read(folder: Path) -> Checkpoint | None:
    path = folder / MANIFEST_NAME
    if folder.is_symlink() or folder.parent.is_symlink() or not path.is_file():
        return None
    content = path.read_bytes()
    try:
        manifest = Manifest.model_validate_json(content)
    except ValueError:
        return None
    return Checkpoint(
        manifest=manifest,
        commit=hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        folder=folder,
        published_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
    )
