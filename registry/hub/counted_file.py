"""A file to upload that tells how far it has been read."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import CommitOperationAdd

from registry.manifest import ManifestFile


class CountedAddition(CommitOperationAdd):
    """A file of a checkpoint, on its way into a commit.

    Xet reads files itself and tells nothing: there, a file's bytes are told when all of it was sent.
    """

    def __init__(self, folder: Path, file: ManifestFile, on_read: Callable[[int], None]) -> None:
        """Name a file of a checkpoint; `on_read` is told how many of its bytes have been read to be sent."""
        super().__init__(path_in_repo=file.path, path_or_fileobj=str(folder / file.path))
        # So that it is not read once more only for its digest.
        self.upload_info.sha256 = bytes.fromhex(file.sha256)
        self._on_read = on_read

    @contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
        """Open it; the library asks for a progress bar where it sends the content."""
        if not with_tqdm:
            with super().as_file() as file:
                yield file
            return
        with _CountedFile(str(self.path_or_fileobj), self._on_read) as counted:
            yield counted


class _CountedFile(io.BufferedReader):
    def __init__(self, path: str, on_read: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._on_read = on_read

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._on_read(self.tell())
        return content
