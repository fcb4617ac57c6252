"""The header of a safetensors file: where its tensors lie, held against the file's size, without reading them."""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""What the format allows."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
"""Of one element of each dtype of the format."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a header describes it.

    Attributes:
        dtype: by the format's name, such as `BF16`.
        shape: outermost dimension first.
        start: its first byte, counted from the end of the header.
        end: the byte behind its last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Header:
    """The header of one file.

    Attributes:
        tensors: by name, in the order in which they lie in the file.
        stamp: tells the file from what it becomes when somebody writes to it, see `stamp_of`.
    """

    tensors: Mapping[str, StoredTensor]
    stamp: tuple[int, int]


def stamp_of(stat: os.stat_result) -> tuple[int, int]:
    """A file's size and the time of its last change."""
    return stat.st_size, stat.st_mtime_ns


def read_header(file: Path) -> Header:
    """Read the header of a safetensors file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the header is none, or the file is not what it describes; the message goes on behind its name.
    """
    with file.open("rb") as opened:
        stat = os.fstat(opened.fileno())
        length = int.from_bytes(opened.read(LENGTH_BYTES), "little")
        if stat.st_size < LENGTH_BYTES or length > stat.st_size - LENGTH_BYTES:
            raise ValueError(f"has {stat.st_size} bytes, which is too few for a header of {length} bytes")
        if length > MOST_HEADER_BYTES:
            raise ValueError(
                f"has a header of {length} bytes, and {MOST_HEADER_BYTES} are the most there may be"
            )
        text = opened.read(length)
    described = _parse(text)
    tensors = {name: _tensor(name, entry) for name, entry in described.items() if name != "__metadata__"}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    _require_no_gaps(ordered, stat.st_size - LENGTH_BYTES - length)
    return Header(ordered, stamp_of(stat))


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, for `object_pairs_hook`.

    Raises:
        ValueError: a key that is there twice, of which `json` would silently take the last.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"it has {twice} twice")
    return made


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as broken:
        raise ValueError(f"has a header that cannot be read ({broken})") from broken
    if not isinstance(header, dict):
        raise ValueError("has a header that is not an object")  # noqa: TRY004  a damaged file, not a wrong argument
    return header


def _tensor(name: str, entry: Any) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [start, end]} if all(
            type(size) is int and size >= 0 for size in (*shape, start, end)
        ):
            pass
        case _:
            raise ValueError(f"has a header without the dtype, the shape or the place of the tensor {name}")
    if dtype not in BITS:
        raise ValueError(f"has the tensor {name} in {dtype}, which is no dtype of safetensors")
    if end < start:
        raise ValueError(
            f"has the tensor {name} end at byte {end}, in front of its beginning at byte {start}"
        )
    bits = math.prod(shape) * BITS[dtype]
    if 8 * (end - start) != bits:
        raise ValueError(
            f"has {end - start} bytes for the tensor {name}, which in {dtype} and of shape {shape} takes {bits // 8}"
        )
    return StoredTensor(dtype, tuple(shape), start, end)


def _require_no_gaps(tensors: Mapping[str, StoredTensor], there: int) -> None:
    """Refuse tensors that overlap, leave bytes between them, or take others than are there."""
    end = 0
    for name, tensor in tensors.items():
        if tensor.start != end:
            raise ValueError(
                f"has the tensor {name} begin at byte {tensor.start}, and the one before it ends at byte {end}"
            )
        end = tensor.end
    for name, tensor in tensors.items():
        if tensor.end > there:
            raise ValueError(
                f"is cut short: its tensors take {end} bytes and {there} are there; "
                f"{name}, of bytes {tensor.start} to {tensor.end}, is the first that is not whole"
            )
    if end < there:
        raise ValueError(f"has {there} bytes behind its header, and its tensors take {end}")
