import os
import shutil
from pathlib import Path

from cli.embedded.errors import ForeignFolderError


def make_private(folder: Path, owner: int) -> None:
    """Create `folder` if it is missing; make it and all that is in it `owner`'s and nobody else's.

    Raises:
        ForeignFolderError: It belongs to somebody else and we are not root.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat().st_uid
    if found != owner:
        if os.geteuid() != 0:
            raise ForeignFolderError(
                f"{folder} belongs to user id {found}, we are {owner}. Give another folder with --data, "
                f"or take this one over: sudo chown -R {owner} {folder}"
            )
        _give(folder, owner)
    folder.chmod(0o700)


def _give(folder: Path, owner: int) -> None:
    shutil.chown(folder, owner)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), owner, -1, follow_symlinks=False)
