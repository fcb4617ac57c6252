"""Objects below one address of an object store: whole or absent, listed as they are at that moment."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

PIECE_BYTES = 8 * 2**20
"""What is read in one request."""


class ObjectStore:
    """The objects whose keys begin with `root`, through fsspec.

    Whatever fsspec knows can be named. What is counted on here is what S3 promises: an object that was written is seen
    at once and whole, also in listings.

    Attributes:
        url: the address, for people.
    """

    def __init__(self, filesystem: AbstractFileSystem, root: str, url: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self.url = url

    @classmethod
    def at(cls, url: str) -> Self:
        """Open an address; whose account it is, the implementation finds in the environment."""
        # Listings are not kept: other machines write too.
        filesystem, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        return cls(filesystem, root.rstrip("/"), url.rstrip("/"))

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    def list(self, prefix: str) -> dict[str, int]:
        """Give the sizes in bytes of the objects whose keys begin with the folder `prefix`, by their keys."""
        found = self._filesystem.find(self._path(prefix), detail=True)
        return {self._key(path): int(info["size"]) for path, info in found.items()}

    def read(self, key: str) -> bytes:
        """Read an object that is small.

        Raises:
            FileNotFoundError: it is not there.
        """
        return cast("bytes", self._filesystem.cat_file(self._path(key)))

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Read objects that are small, at once, and leave out those that are not there any more."""
        paths = [self._path(key) for key in keys]
        if not paths:
            return {}
        contents: dict[str, Any] = self._filesystem.cat(paths, on_error="return")
        there = {}
        for path, content in contents.items():
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, Exception):
                raise content
            there[self._key(path)] = content
        return there

    def pieces(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Read an object from byte `start` up to `end`, piece by piece.

        Raises:
            FileNotFoundError: it is not there.
        """
        for begin in range(start, end, PIECE_BYTES):
            yield self._filesystem.cat_file(self._path(key), start=begin, end=min(begin + PIECE_BYTES, end))

    def size(self, key: str) -> int | None:
        """Give how many bytes an object has; None if it is not there."""
        try:
            return int(self._filesystem.info(self._path(key))["size"])
        except FileNotFoundError:
            return None

    def written_at(self, key: str) -> datetime:
        """Give when an object was written, by the store's clock.

        Raises:
            FileNotFoundError: it is not there.
        """
        return cast("datetime", self._filesystem.modified(self._path(key)))

    def write(self, key: str, content: bytes) -> None:
        """Write an object, whatever was there before."""
        self._filesystem.pipe_file(self._path(key), content)

    def create(self, key: str, content: bytes) -> None:
        """Write an object if there is none, as the store itself decides."""
        with suppress(FileExistsError):
            self._filesystem.pipe_file(self._path(key), content, mode="create")

    def upload(self, path: Path, key: str) -> None:
        """Write a file's content."""
        self._filesystem.put_file(os.fspath(path), self._path(key))

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")
