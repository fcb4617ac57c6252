"""The weights of a model that was found: where they lie, fetched first if that is the Hub, and one after the other."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from pruning_core import hub
from pruning_core.errors import UnreadableModelError
from pruning_core.model_source import ModelSource
from pruning_core.weight_files import WeightFiles, read_index
from pruning_core.weight_formats import INDEX, PATTERN, SINGLE, no_safetensors, pickled_weights


def weights_folder(source: ModelSource) -> Path:
    """The folder of a model's weights; those on the Hub are downloaded first, at their commit.

    Raises:
        UnreachableHubError: the Hub does not answer, and they are not in the local cache.
        UnreadableModelError: there are none, or their index cannot be read.
    """
    if source.folder is not None:
        return source.folder
    return hub.model_folder(source.reference, _wanted(source))


def stored_weights(source: ModelSource, folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Read all the weights that are in a model's folder, with their names.

    Raises:
        UnreadableModelError: a file is damaged, or see `WeightFiles`.
    """
    if source.pickled:
        yield from _unpickled(folder, source.reference.id)
        return
    files = WeightFiles.of(folder, source.reference.id)
    for name in files.names:
        yield name, files.read(name)


def fingerprint(source: ModelSource) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a model's files: enough to notice that one was exchanged meanwhile.

    Raises:
        UnreachableHubError: the Hub does not answer, and they are not in the local cache.
        UnreadableModelError: there are none, or their index cannot be read.
    """
    if source.gguf_file is not None:
        files = [Path(source.location) / source.gguf_file]
    else:
        files = sorted(file for file in weights_folder(source).iterdir() if file.is_file())
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _wanted(source: ModelSource) -> list[str]:
    """The files to download: some repositories have the same weights once more, in files that no index names."""
    if source.pickled:
        return pickled_weights(source.files)
    if SINGLE in source.files:
        return [SINGLE]
    if INDEX not in source.files and any(fnmatch(name, PATTERN) for name in source.files):
        return [PATTERN]
    # Asked for even if it is not among the files, of which only the cached ones are known when the Hub did not answer.
    index = source.small_file(INDEX)
    if index is not None:
        return [INDEX, *sorted(set(read_index(index, source.reference.id).values()))]
    raise no_safetensors(source.reference.id)


def _unpickled(folder: Path, model: str) -> Iterator[tuple[str, Tensor]]:
    for name in pickled_weights(file.name for file in folder.iterdir()):
        try:
            # Builds tensors and plain containers of them, and refuses everything else: no code of the file's runs.
            weights = torch.load(folder / name, map_location="cpu", weights_only=True)
        except UnpicklingError as refused:
            # Its message advises to load it unsafely.
            raise _unreadable(model, f"{name} is no pickle, or holds more than tensors") from refused
        except (OSError, EOFError, RuntimeError, ValueError, KeyError) as broken:
            raise _unreadable(model, f"{name} cannot be read ({broken})") from broken
        if not isinstance(weights, dict) or not all(
            isinstance(weight, Tensor) for weight in weights.values()
        ):
            raise _unreadable(model, f"{name} is no table of tensors by their names")
        yield from weights.items()


def _unreadable(model: str, reason: str) -> UnreadableModelError:
    return UnreadableModelError(
        "model", model, f"{reason}.", "Download or copy it again, or name another checkpoint."
    )
