"""The tensors of a checkpoint's safetensors files by their names: described at once, read one at a time."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pruning_core.errors import UnreadableModelError
from pruning_core.paths import is_file
from pruning_core.safetensors_header import Header, StoredTensor, read_header, stamp_of, unique_keys
from pruning_core.weight_formats import INDEX, PATTERN, SINGLE, no_safetensors

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""What weights may be stored in, by the format's names."""


class WeightFiles:
    """A checkpoint's tensors, of which only the headers were read.

    One thread may read while others ask.

    Attributes:
        indexed: whether `from_pretrained` would find them, by the one file's name or by an index.
        names: of all tensors, file by file, in the order in which they lie there.
        total_bytes: of all tensors.
        bytes_read: of those that were read so far, each time they were.
    """

    def __init__(self, model: str, listing: str, headers: Mapping[Path, Header]) -> None:
        """Take headers that agree with each other; `of` reads them from a folder.

        Args:
            model: as the user named it.
            listing: the name of the file, or the files, where all tensors are listed.
            headers: of each file.
        """
        self._model, self._listing, self._headers = model, listing, headers
        self._files = {name: file for file, header in headers.items() for name in header.tensors}
        self._counting = Lock()
        self.indexed = listing != PATTERN
        self.names = tuple(self._files)
        self.total_bytes = sum(self.bytes(name) for name in self.names)
        self.bytes_read = 0

    @classmethod
    def of(cls, folder: Path, model: str) -> Self:
        """Read the headers of a checkpoint.

        Args:
            folder: with a `model.safetensors`, with an index and the files that it names, or with any `.safetensors`.
            model: as the user named it, for errors.

        Raises:
            UnreadableModelError: there are no such files, one of them is damaged, they contradict each other or their
                index, or their weights are stored in another dtype than `DTYPES`.
        """
        index = None
        # The order in which `from_pretrained` looks for them.
        if is_file(folder / SINGLE):
            listing, files = SINGLE, [folder / SINGLE]
        elif (folder / INDEX).exists():
            listing, index = INDEX, read_index(folder / INDEX, model)
            files = [folder / name for name in sorted(set(index.values()))]
        else:
            listing, files = PATTERN, sorted(folder.glob(PATTERN))
        if not files:
            raise no_safetensors(model)
        headers = {file: _read_header(file, model, index) for file in files}
        _require_agreement(headers, index, model)
        opened = cls(model, listing, headers)
        for name in opened.names:
            # Others are not refused before they are read, for some checkpoints keep masks and positions as well, which
            # no model reads any more.
            if "weight" in name.rpartition(".")[2]:
                opened.dtype(name)
        return opened

    def file_of(self, name: str) -> Path:
        return self._files[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored(name).shape

    def bytes(self, name: str) -> int:
        return self._stored(name).bytes

    def dtype(self, name: str) -> torch.dtype:
        """Say what a weight is stored in.

        Raises:
            UnreadableModelError: in another dtype than `DTYPES`.
        """
        stored = self._stored(name)
        if stored.dtype not in DTYPES:
            raise UnreadableModelError(
                "model",
                self._model,
                f"{self._files[name].name} has the tensor {name} ({stored.bytes} bytes) in {stored.dtype}, and only "
                "float32, bfloat16 and float16 can be pruned.",
                "Name the checkpoint that this one was quantised from, or one in those dtypes.",
            )
        return DTYPES[stored.dtype]

    def require(self, expected: Iterable[str]) -> None:
        """Check that all the tensors that a model expects are there.

        Raises:
            UnreadableModelError: with the first that is missing, and how many are.
        """
        missing = [name for name in expected if name not in self._files]
        if missing:
            raise _damaged(
                self._model,
                f"{len(missing)} of its tensors are in none of its files, the first is {missing[0]}; "
                f"{self._listing} lists {len(self.names)} tensors",
            )

    def read(self, name: str) -> Tensor:
        """Read a tensor into memory of its own, so that none of the file's pages stay mapped.

        Raises:
            UnreadableModelError: the file was removed or changed since it was opened, or see `dtype`.
        """
        self.dtype(name)
        file = self._files[name]
        try:
            stamp = stamp_of(file.stat())
        except OSError as gone:
            raise self._changed(name, str(gone)) from gone
        # Before it is mapped: to read a page of a map that lies behind the end of its file is a signal, no exception.
        if stamp != self._headers[file].stamp:
            raise self._changed(name, f"it has {stamp[0]} bytes now, of {self._headers[file].stamp[0]}")
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name).clone()
        except (OSError, SafetensorError) as error:
            raise self._changed(name, str(error)) from error
        with self._counting:
            self.bytes_read += self.bytes(name)
        return tensor

    def _stored(self, name: str) -> StoredTensor:
        return self._headers[self._files[name]].tensors[name]

    def _changed(self, name: str, how: str) -> UnreadableModelError:
        return UnreadableModelError(
            "model",
            self._model,
            f"{self._files[name].name} changed since it was opened ({how}), before {name} ({self.bytes(name)} bytes) "
            "was read.",
            "Leave a checkpoint alone while it is pruned, and ask again.",
        )


def _read_header(file: Path, model: str, index: Mapping[str, str] | None) -> Header:
    try:
        return read_header(file)
    except FileNotFoundError as missing:
        wanted = [name for name, place in (index or {}).items() if place == file.name]
        why = f"; {INDEX} names it for {len(wanted)} tensors, the first is {wanted[0]}" if wanted else ""
        raise _damaged(model, f"{file.name} is not there{why}") from missing
    except OSError as unreadable:
        raise _damaged(model, f"{file.name} cannot be read ({unreadable})") from unreadable
    except ValueError as broken:
        raise _damaged(model, f"{file.name} {broken}") from broken


def read_index(file: Path, model: str) -> dict[str, str]:
    """Read which file each tensor is in.

    Raises:
        UnreadableModelError: the index is none, or leads out of its folder.
    """
    try:
        index = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except (OSError, ValueError, RecursionError) as broken:
        raise _damaged(model, f"{file.name} cannot be read ({broken})") from broken
    places, metadata = (
        (index.get("weight_map"), index.get("metadata")) if isinstance(index, dict) else (None, None)
    )
    # `from_pretrained` needs the metadata as well.
    if not isinstance(places, dict) or not places or not isinstance(metadata, dict):
        raise _damaged(
            model, f"{file.name} is not an object with metadata and a weight_map that names tensors"
        )
    for name, place in places.items():
        # A path could lead out of the folders that jobs may read.
        if not isinstance(place, str) or Path(place).name != place or not place.endswith(".safetensors"):
            raise _damaged(
                model, f"{file.name} has {name} in {place!r}, which is no .safetensors file of its folder"
            )
    return places


def _require_agreement(headers: Mapping[Path, Header], index: Mapping[str, str] | None, model: str) -> None:
    places: dict[str, str] = {}
    for file, header in headers.items():
        for name, stored in header.tensors.items():
            if name in places:
                raise _damaged(
                    model,
                    f"the tensor {name} ({stored.bytes} bytes) is both in {places[name]} and in {file.name}",
                )
            places[name] = file.name
    if not places:
        raise _damaged(model, f"{next(iter(headers)).name} has no tensors")
    if index is None:
        return
    for name, place in index.items():
        if places.get(name) != place:
            raise _damaged(model, f"{INDEX} has the tensor {name} in {place}, where it is not")
    for name, place in places.items():
        if name not in index:
            raise _damaged(model, f"{place} has the tensor {name}, which {INDEX} does not name")


def _damaged(model: str, reason: str) -> UnreadableModelError:
    return UnreadableModelError(
        "model", model, f"{reason}.", "Download or copy it again, or name another checkpoint."
    )
