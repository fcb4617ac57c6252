"""The texts that calibrate and that measure."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

from pruning_core import hub, wikitext2
from pruning_core.errors import UnknownDatasetError
from pruning_core.paths import FileVersion, Roots, allowed_path, is_file, looks_local

Purpose = Literal["calibration", "evaluation"]


@dataclass(frozen=True)
class TextSource:
    """A text that was found but not yet read; two are equal if they read the same.

    Attributes:
        name: as named by the user.
        version: what is another when the text is.
        read: gives the whole text. It may need the network and the `datasets` package.
        check: fails within seconds when `read` could not succeed.
        local: whether `read` is cheap, so that the text can be tokenised just to count its tokens.
    """

    name: str
    version: Purpose | FileVersion
    read: Callable[[], str] = field(compare=False)
    check: Callable[[], None] = field(compare=False)
    local: bool


def digest_text(content: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def find_text(field: str, name: str, purpose: Purpose, roots: Roots) -> TextSource:
    """Find the text called `name`.

    `builtin` and `wikitext2` have a part for each purpose, so that what measures never calibrated. A file is
    one text, whatever the purpose.

    Raises:
        PathNotAllowedError: a path outside `roots`.
        UnusablePathError: a path that leads nowhere.
        UnknownDatasetError: neither a known name nor an existing file.
    """
    if name == "builtin":
        return TextSource(name, purpose, partial(_read_builtin, purpose), _nothing_to_check, local=True)
    if name == "wikitext2":
        return TextSource(
            name,
            purpose,
            partial(_read_wikitext2, field, purpose),
            partial(hub.require_dataset, field, name, wikitext2.REPOSITORY),
            local=False,
        )
    if not looks_local(name):
        raise UnknownDatasetError(
            field,
            name,
            "there is no dataset of this name.",
            "Use wikitext2, builtin, or the path of a text file, beginning with / or ./ or ending in .txt.",
        )
    path = allowed_path(field, name, roots)
    if not is_file(path):
        raise UnknownDatasetError(field, name, "there is no such file.", "Name an existing UTF-8 text file.")
    return TextSource(
        name, FileVersion.of(path), partial(_read_file, field, name, path), _nothing_to_check, local=True
    )


def _nothing_to_check() -> None:
    """A text that is already on this machine."""


def _read_builtin(purpose: Purpose) -> str:
    names = sorted(topics)
    boundary = len(names) * 4 // 5
    return "\n\n".join(
        topics[name] for name in (names[:boundary] if purpose == "calibration" else names[boundary:])
    )


def _read_file(field: str, name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise UnknownDatasetError(
            field,
            name,
            f"this file cannot be read as UTF-8 ({unreadable}).",
            "Name a plain text file in UTF-8.",
        ) from unreadable


def _read_wikitext2(field: str, purpose: Purpose) -> str:
    from datasets import load_dataset

    try:
        rows = load_dataset(wikitext2.REPOSITORY, wikitext2.CONFIG, split=wikitext2.SPLITS[purpose])
    except hub.UNREACHABLE as error:
        raise hub.unreachable(field, "wikitext2") from error
    return "\n\n".join(rows["text"])
