"""Which local paths a recipe may name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pruning_core.errors import PathNotAllowedError, UnusablePathError

Roots = Sequence[Path] | None
"""The folders whose content may be read; None where the user is the operator, as on the command line."""


class FileVersion(NamedTuple):
    """A file as it was when it was looked at: what was read of another version of it is not true of this one."""

    path: Path
    modified: int
    size: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self:
        stat = path.stat()
        return cls(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


def looks_local(name: str) -> bool:
    """Tell a path from a Hub id, which is `name` or `owner/name` and nothing else."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or name.endswith((".gguf", ".txt"))


def allowed_path(field: str, value: str, roots: Roots) -> Path:
    """Resolve `value`, symlinks and `..` included, and check that it lies under one of `roots`.

    Raises:
        PathNotAllowedError: it does not; nothing about what is there is told.
        UnusablePathError: it leads round in circles, or to the home of a user who does not exist.
    """
    try:
        path = Path(value).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise UnusablePathError(
            field,
            value,
            f"this path leads nowhere ({error}).",
            "Name an existing file or folder by its full path.",
        ) from error
    if roots is None or any(path.is_relative_to(root.resolve()) for root in roots):
        return path
    folders = ", ".join(str(root) for root in roots)
    raise PathNotAllowedError(
        field,
        value,
        "this path is outside the folders that jobs may read.",
        f"Move it under one of: {folders}."
        if roots
        else "There are none: ask the operator to name some in SECATEUR_LOCAL_ROOTS.",
    )


def is_file(path: Path) -> bool:
    """Tell whether there is a file; not where it cannot be known, as under a folder that is closed to us."""
    try:
        return path.is_file()
    except OSError:
        return False
