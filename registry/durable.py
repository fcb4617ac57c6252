"""Files that are still there after a power cut."""

import os
from pathlib import Path


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and `folder` itself, to the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync_up(folder: Path, top: Path) -> None:
    """Flush a folder and those above it, as far as `top`, to the disk: they may be as new as what is in them."""
    for each in [folder, *folder.parents]:
        if each.is_relative_to(top):
            sync(each)


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: str, top: Path) -> None:
    """Write a file, and the folders above it as far as `top`, so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(content, encoding="utf-8")
    sync(partial)
    partial.replace(path)
    sync_up(path.parent, top)
