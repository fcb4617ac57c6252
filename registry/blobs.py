"""The content of files, each stored once.

A blob is a file that is named by its SHA-256, and every file with that content is a hard link to it. So nobody counts
references: the file system does, and a blob without another link is garbage. To take a blob's name away takes nothing
from a version, whoever links to it at that moment: its content would only not be shared with what comes later.
"""

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from registry.manifest import sha256_of

_NOT_TO_BE_LINKED = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""The file system has no hard links, or no more of them, or the blob is another user's."""


class Blobs:
    """The blobs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def share(self, path: Path, sha256: str) -> None:
        """Make one of `path` and the blob with its content; where links cannot be made it stays a copy."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._share(path, self._folder / sha256)
        except OSError as error:
            if error.errno not in _NOT_TO_BE_LINKED:
                raise

    def release(self, digests: Iterable[str]) -> int:
        """Remove those of the blobs that no version has; give how many bytes that frees."""
        freed = 0
        for sha256 in digests:
            blob = self._folder / sha256
            # Another release may be quicker.
            with suppress(FileNotFoundError):
                found = blob.lstat()
                if found.st_nlink == 1:
                    blob.unlink()
                    freed += found.st_size
        return freed

    def collect(self) -> int:
        """Remove all blobs that no version has; give how many bytes that frees."""
        return self.release([blob.name for blob in self._folder.glob("*")])

    @staticmethod
    def _share(path: Path, blob: Path) -> None:
        aside = path.with_name(f".{blob.name}")
        while True:
            with suppress(FileExistsError):
                blob.hardlink_to(path)
                return
            # A release may take the blob away at any moment; then the next round makes it anew.
            with suppress(FileNotFoundError):
                # NFS may say that a link was there which it has just made.
                if blob.samefile(path):
                    return
                if sha256_of(blob) == blob.name:
                    aside.hardlink_to(blob)
                    aside.replace(path)
                    return
                # Nobody shall get what rotted, or was half on the disk at a power cut.
                blob.unlink()
