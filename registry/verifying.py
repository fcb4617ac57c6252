"""Is what is published still what was published, to the last bit?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.layout import Layout
from registry.manifest import MANIFEST_NAME, MANIFEST_NAMES, DamagedManifestError, Manifest, sha256_of

MISSING, UNKNOWN = "missing", "no such file"
"""What is found, and what is expected, where there is nothing."""


@dataclass(frozen=True)
class Finding:
    """A file of a version that is not as it was published: changed, missing, or there beside those published.

    Attributes:
        version: the version's folder, or its address in an object store.
        path: the file, inside the version.
        expected: the digest that it was published with: the SHA-1 of a manifest, the SHA-256 of any other file.
        found: the one it has.
    """

    version: Path | str
    path: str
    expected: str
    found: str

    @property
    def location(self) -> str:
        return f"{self.version}/{self.path}"


class Verification:
    """Verifies versions; content that several of them share is read once.

    Attributes:
        versions: how many were verified.
        bytes: how much was read.
    """

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root)
        self._digests: dict[tuple[int, int], str] = {}
        self.versions = 0
        self.bytes = 0

    def verify(self, name: str) -> Iterator[Finding]:
        """Give what is wrong with the versions of a model."""
        for folder in self._layout.versions(name):
            findings = list(self._verify_version(folder))
            # What is deleted at this moment is not damaged.
            if folder.exists() and not self._layout.tombstone(name, folder.name).exists():
                self.versions += 1
                yield from findings

    def _verify_version(self, folder: Path) -> Iterator[Finding]:
        try:
            manifest, _ = Manifest.read(folder)
        except DamagedManifestError as error:
            yield Finding(folder, MANIFEST_NAME, error.expected, error.found)
            return
        expected = {file.path: file.sha256 for file in manifest.files}
        there = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_symlink() or not path.is_dir()
        }
        for path in sorted(expected.keys() | there.keys() - {*MANIFEST_NAMES}):
            found = self._digest(there[path]) if path in there else MISSING
            if found != expected.get(path):
                yield Finding(folder, path, expected.get(path, UNKNOWN), found)

    def _digest(self, path: Path) -> str:
        try:
            status = path.lstat()
            if not path.is_file() or path.is_symlink():
                return "not a file"
            inode = status.st_dev, status.st_ino
            if inode not in self._digests:
                self._digests[inode] = sha256_of(path)
                self.bytes += status.st_size
        except FileNotFoundError:
            return MISSING
        except OSError as error:
            # A disk that is dying says so here.
            return f"unreadable ({error.strerror})"
        return self._digests[inode]
