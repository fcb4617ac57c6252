"""Where a model comes from, and what its config says, without loading it and without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_core import hub
from pruning_core.errors import UnknownModelError
from pruning_core.gguf_header import read_gguf_config
from pruning_core.paths import Roots, allowed_path, looks_local
from pruning_core.recipe import ModelReference


@dataclass(frozen=True)
class ModelSource:
    """A model that was found.

    Attributes:
        reference: as named by the user, a Hub revision pinned to its commit.
        location: what `from_pretrained` takes first: a folder, or a Hub id.
        gguf_file: the file inside `location`, when that is what was named.
        config: the checkpoint's config, as stored.
        tokenizer_file: its `tokenizer.json`, when it has one.
    """

    reference: ModelReference
    location: str
    gguf_file: str | None
    config: Mapping[str, Any]
    tokenizer_file: Path | None


def find_model(reference: ModelReference, roots: Roots) -> ModelSource:
    """Find a model and read its config.

    Raises:
        PathNotAllowedError: a path outside `roots`.
        UnknownModelError: nothing there, no such repository or revision, or not a model.
        UnreachableHubError: a Hub id, and the Hub does not answer.
    """
    if looks_local(reference.id):
        return _find_local(reference, allowed_path("model", reference.id, roots))
    return _find_on_hub(reference)


def _find_local(reference: ModelReference, path: Path) -> ModelSource:
    if reference.revision is not None:
        raise UnknownModelError(
            "model.revision", reference.revision, "a local path has no revisions.", "Leave the revision out."
        )
    if path.is_file():
        return _find_gguf(reference, path)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise UnknownModelError(
            "model",
            reference.id,
            "there is no config.json in this folder.",
            "Name a checkpoint's folder, or a GGUF file.",
        ) from missing
    except (OSError, ValueError) as broken:
        raise UnknownModelError(
            "model",
            reference.id,
            f"its config.json cannot be read ({broken}).",
            "Repair it or name another checkpoint.",
        ) from broken
    tokenizer_file = path / "tokenizer.json"
    return ModelSource(
        reference=reference,
        location=str(path),
        gguf_file=None,
        config=config,
        tokenizer_file=tokenizer_file if tokenizer_file.exists() else None,
    )


def _find_gguf(reference: ModelReference, path: Path) -> ModelSource:
    try:
        config = read_gguf_config(path)
    except (ValueError, KeyError, IndexError) as broken:
        raise UnknownModelError(
            "model",
            reference.id,
            f"this file is not GGUF ({broken}).",
            "Name a .gguf file, or a checkpoint's folder.",
        ) from broken
    return ModelSource(
        reference=reference,
        location=str(path.parent),
        gguf_file=path.name,
        config=config,
        tokenizer_file=None,
    )


def _find_on_hub(reference: ModelReference) -> ModelSource:
    pinned = hub.pin_revision(reference)
    offline = pinned is None
    config_file = hub.model_file(pinned or reference, "config.json", cached_only=offline)
    if config_file is None:
        raise UnknownModelError(
            "model",
            reference.id,
            "this Hub repository has no config.json.",
            "Name a transformers checkpoint.",
        )
    return ModelSource(
        # The cache keeps each file under the commit it came from: …/snapshots/<commit>/config.json.
        reference=pinned or ModelReference(id=reference.id, revision=config_file.parent.name),
        location=reference.id,
        gguf_file=None,
        config=json.loads(config_file.read_text(encoding="utf-8")),
        tokenizer_file=hub.model_file(pinned or reference, "tokenizer.json", cached_only=offline),
    )
