"""Which files a local model was read from: a folder, unlike a commit of the Hub, can come to hold other ones."""

import hashlib
from fnmatch import fnmatch
from pathlib import Path

from pruning_core.model_source import ModelSource
from pruning_core.weight_formats import MODEL_FILES, pickled_weights


def digest_base(source: ModelSource) -> dict[str, str]:
    """Digest the files that a local model consists of; none of one on the Hub, which its commit pins.

    It reads all of the weights once.

    Returns:
        SHA-256 in hexadecimal, by the files' names.
    """
    if source.folder is None:
        return {}
    if source.gguf_file is not None:
        names = [source.gguf_file]
    else:
        wanted = [*MODEL_FILES, *pickled_weights(source.files)]
        names = [name for name in source.files if any(fnmatch(name, pattern) for pattern in wanted)]
    files = [Path(source.location) / name for name in names]
    return {file.name: _digest(file) for file in files if file.is_file()}


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
