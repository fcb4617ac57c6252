"""A safetensors file whose tensors are written one by one: the header first, for every shape is known beforehand.

The library writes a file from tensors that are all in memory, and copies them once more. The format: eight bytes with
the header's length, a JSON object with every tensor's dtype, shape and place, and the tensors one behind the other.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from pruning_core.disk_room import explaining_a_full_disk, reserve
from pruning_core.weight_files import DTYPES

NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIGNMENT = 8
PYTORCH = MappingProxyType({"format": "pt"})


class TensorFile:
    """A file on its way to be whole."""

    def __init__(
        self, path: Path, shapes: Mapping[str, Tensor], metadata: Mapping[str, str] = PYTORCH
    ) -> None:
        """Reserve the room and write the header.

        Args:
            path: of the file.
            shapes: for each tensor one of its dtype and shape, which may be on the meta device.
            metadata: what else the header says.

        Raises:
            DiskFullError: there is too little room.
        """
        self.path = path
        header: dict[str, object] = {"__metadata__": dict(metadata)}
        self._starts: dict[str, int] = {}
        end = 0
        # The widest first, so that every tensor lies where its dtype may.
        for name, shape in sorted(shapes.items(), key=lambda item: -item[1].itemsize):
            start, end = end, end + shape.nbytes
            header[name] = {
                "dtype": NAMES[shape.dtype],
                "shape": list(shape.shape),
                "data_offsets": [start, end],
            }
            self._starts[name] = start
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % ALIGNMENT)
        self._tensors_at = 8 + len(encoded)
        self._file = path.open("wb")
        try:
            reserve(self._file.fileno(), self._tensors_at + end, path.name)
            self._file.write(len(encoded).to_bytes(8, "little") + encoded)
        except OSError:
            self._file.close()
            path.unlink()
            raise

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a tensor, from any device.

        Raises:
            DiskFullError: there is no room.
        """
        # numpy knows no bfloat16.
        content = tensor.detach().to("cpu").contiguous().view(-1).view(torch.uint8).numpy()
        with explaining_a_full_disk(f"{name} ({tensor.nbytes:,} bytes) in {self.path.name}"):
            self._file.seek(self._tensors_at + self._starts[name])
            self._file.write(content.data)

    def close(self) -> None:
        """Write what is still held back, and wait until the disk has it: a file without an end must not look whole.

        Raises:
            DiskFullError: there is no room.
        """
        with explaining_a_full_disk(self.path.name), self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
