"""Files that are still there after a power cut."""

import os
from pathlib import Path


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and `folder` itself, to the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
