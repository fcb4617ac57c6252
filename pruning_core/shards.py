"""A checkpoint's weights on their way into the files of a folder, tensor by tensor."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor

from pruning_core.disk_room import explaining_a_full_disk
from pruning_core.tensor_file import TensorFile
from pruning_core.weight_formats import INDEX


class Shards:
    """The files of a checkpoint, none of which has its name before all are whole."""

    def __init__(self, folder: Path, shapes: Mapping[str, Tensor], shard_bytes: int) -> None:
        """Plan the files and reserve their room.

        Args:
            folder: where they go.
            shapes: tensors on the meta device, by their names.
            shard_bytes: most bytes in a file with more than one tensor.

        Raises:
            DiskFullError: there is too little room.
        """
        split = split_torch_state_dict_into_shards(dict(shapes), max_shard_size=shard_bytes)
        self._folder, self._total_bytes = folder, split.metadata["total_size"]
        self._file_of = split.tensor_to_filename
        self._files: dict[str, TensorFile] = {}
        self._missing = set(shapes)
        try:
            for file, names in split.filename_to_tensors.items():
                path = folder / f"{file}.partial"
                self._files[file] = TensorFile(path, {name: shapes[name] for name in names})
        except OSError:
            self.abandon()
            raise

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a tensor, from any device.

        Raises:
            DiskFullError: there is no room.
        """
        self._files[self._file_of[name]].write(name, tensor)
        self._missing.remove(name)

    def finish(self) -> None:
        """Give the files their names; the index, where there are several, comes last.

        Raises:
            DiskFullError: there is no room.
        """
        assert not self._missing, min(self._missing)  # noqa: S101  who planned them writes them
        for file in self._files.values():
            file.close()
        index = self._folder / f"{INDEX}.partial"
        if len(self._files) > 1:
            content = {
                "metadata": {"total_size": self._total_bytes},
                "weight_map": dict(sorted(self._file_of.items())),
            }
            with explaining_a_full_disk(INDEX):
                index.write_text(json.dumps(content, indent=2) + "\n")
        for name, file in self._files.items():
            file.path.replace(self._folder / name)
        if len(self._files) > 1:
            index.replace(self._folder / INDEX)

    def abandon(self) -> None:
        """Leave nothing."""
        for partial in [*(file.path for file in self._files.values()), self._folder / f"{INDEX}.partial"]:
            partial.unlink(missing_ok=True)


@contextmanager
def sharded(folder: Path, shapes: Mapping[str, Tensor], shard_bytes: int) -> Iterator[Shards]:
    """Lend `Shards` to be filled; they are finished then, or gone if that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = Shards(folder, shapes, shard_bytes)
    try:
        yield shards
        shards.finish()
    except BaseException:
        shards.abandon()
        raise
