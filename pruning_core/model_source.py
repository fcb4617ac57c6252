"""Where a model comes from, and what its config says, without loading it and without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_core import hub
from pruning_core.errors import UnknownModelError, UnreadableModelError
from pruning_core.gguf_header import read_gguf_config
from pruning_core.model_code import ModelCode
from pruning_core.models.description import Config
from pruning_core.paths import Roots, allowed_path, is_file, looks_local
from pruning_core.recipe import ModelReference
from pruning_core.twins.description import PublishedModel


@dataclass(frozen=True)
class OwnCode:
    """What is to be done with a model whose code is in its repository.

    Attributes:
        model: how it is described.
        config: its config, with the defaults of its configuration class filled in.
        in_place: whether its code runs, and goes with the pruned checkpoint; otherwise it is converted to its twin.
        trusted: whether the operator allows its code to run.
        files: the code of a local folder, as it was when `trusted` was decided; a Hub commit cannot change.
    """

    model: PublishedModel
    config: Config
    in_place: bool
    trusted: bool
    files: ModelCode | None


@dataclass(frozen=True)
class ModelSource:
    """A model that was found.

    Attributes:
        reference: as named by the user, a Hub revision pinned to its commit.
        location: what `from_pretrained` takes first: a folder, or a Hub id.
        gguf_file: the file inside `location`, when that is what was named.
        config: the checkpoint's config, as stored.
        tokenizer_file: its `tokenizer.json`, when it has one.
        files: the names of what is in its folder or repository; where the Hub does not answer, in the local cache.
        pickled: whether its weights are, which the operator then allows.
        own_code: how its own code is dealt with; None where transformers has the code.
    """

    reference: ModelReference
    location: str
    gguf_file: str | None
    config: Mapping[str, Any]
    tokenizer_file: Path | None
    files: tuple[str, ...] = ()
    pickled: bool = False
    own_code: OwnCode | None = None

    @property
    def folder(self) -> Path | None:
        """Where its files are; None on the Hub."""
        return Path(self.location) if looks_local(self.reference.id) else None

    @property
    def streamable(self) -> bool:
        """Whether its decoder layers can be read one at a time.

        Pickled weights are not in order, a GGUF file is dequantised as a whole, and a model with code of its own is
        converted or run as a whole.
        """
        return not self.pickled and self.gguf_file is None and self.own_code is None

    def small_file(self, name: str) -> Path | None:
        """Find a small file of a folder or a Hub repository; None when it has no such file.

        Raises:
            UnreachableHubError: the Hub does not answer, and the file is not in the local cache.
        """
        if self.folder is not None:
            file = self.folder / name
            return file if is_file(file) else None
        return hub.model_file(self.reference, name, cached_only=False)


def find_model(reference: ModelReference, roots: Roots) -> ModelSource:
    """Find a model and read its config.

    Raises:
        PathNotAllowedError: a path outside `roots`.
        UnusablePathError: a path that leads nowhere.
        UnknownModelError: nothing there, no such repository or revision, or not a model.
        UnreachableHubError: a Hub id, and the Hub does not answer.
    """
    if looks_local(reference.id):
        path = allowed_path("model", reference.id, roots)
        for file in _links(path):
            # `from_pretrained` would follow them.
            allowed_path("model", str(file), roots)
        return _find_local(reference, path)
    return _find_on_hub(reference)


def _find_local(reference: ModelReference, path: Path) -> ModelSource:
    if reference.revision is not None:
        raise UnknownModelError(
            "model.revision", reference.revision, "a local path has no revisions.", "Leave the revision out."
        )
    if is_file(path):
        return _find_gguf(reference, path)
    try:
        config = _read_config(reference, path / "config.json")
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise UnknownModelError(
            "model",
            reference.id,
            "there is no folder with a config.json here, and no GGUF file.",
            "Name a checkpoint's folder, or a GGUF file.",
        ) from missing
    tokenizer_file = path / "tokenizer.json"
    return ModelSource(
        reference=reference,
        location=str(path),
        gguf_file=None,
        config=config,
        tokenizer_file=tokenizer_file if is_file(tokenizer_file) else None,
        files=_names(path),
    )


def _find_gguf(reference: ModelReference, path: Path) -> ModelSource:
    try:
        config = read_gguf_config(path)
    except (OSError, ValueError, KeyError, IndexError) as broken:
        raise UnreadableModelError(
            "model",
            reference.id,
            f"this file cannot be read as GGUF ({broken}).",
            "Name a whole .gguf file, or a checkpoint's folder.",
        ) from broken
    return ModelSource(
        reference=reference,
        location=str(path.parent),
        gguf_file=path.name,
        config=config,
        tokenizer_file=None,
    )


def _find_on_hub(reference: ModelReference) -> ModelSource:
    commit = hub.find_commit(reference)
    pinned, offline = commit and commit.reference, commit is None
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
        config=_read_config(reference, config_file),
        tokenizer_file=hub.model_file(pinned or reference, "tokenizer.json", cached_only=offline),
        files=commit.files if commit is not None else _names(config_file.parent),
    )


def _names(folder: Path) -> tuple[str, ...]:
    """List what is in a folder, nothing where it cannot be read."""
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError:
        return ()


def _links(path: Path) -> list[Path]:
    """List the symlinks inside a model's folder, none where `path` is no folder that can be read."""
    try:
        return [entry for entry in path.iterdir() if entry.is_symlink()]
    except OSError:
        return []


def _read_config(reference: ModelReference, file: Path) -> Mapping[str, Any]:
    """Read a `config.json`.

    Raises:
        FileNotFoundError, NotADirectoryError: it is not there.
        UnreadableModelError: it is no JSON object.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as broken:
        raise _unreadable_config(reference, str(broken)) from broken
    if not isinstance(config, dict):
        raise _unreadable_config(reference, "it is not an object")
    return config


def _unreadable_config(reference: ModelReference, why: str) -> UnreadableModelError:
    return UnreadableModelError(
        "model",
        reference.id,
        f"its config.json cannot be read ({why}).",
        "Repair it, or name another checkpoint.",
    )
