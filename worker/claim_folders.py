"""Folders of a job's claims: one where its child works, one where it stages a checkpoint, each with a name of its own.

Who lost his lease and does not know it yet shares no folder with his successor: whatever he still writes, nobody reads.
"""

import re
import shutil
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from jobs.store import Lease, unfinished

NAME = re.compile(r"(?P<job>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d+")


def name_of(lease: Lease) -> str:
    """Name the folders of a claim; names of one job's claims sort as they were made."""
    return f"{lease.job_id}-{lease.claim:020d}"


def take_work_folder(root: Path, lease: Lease) -> Path:
    """Make the folder of a claim, from the one that an earlier claim of the job left here, if there is one.

    The next attempt goes on from what is in it. Who was late does not take it: his claim is the earlier one.
    """
    folder = root / name_of(lease)
    earlier = _earlier(root, lease)
    if earlier:
        earlier.pop().rename(folder)
    for left in earlier:
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def drop_earlier_claims(root: Path, lease: Lease) -> None:
    """Remove what earlier claims of the job left under `root`."""
    for left in _earlier(root, lease):
        shutil.rmtree(left, ignore_errors=True)


def sweep_claim_folders(engine: Engine, *roots: Path) -> None:
    """Remove the folders of jobs that have ended, wherever they did."""
    named = {folder: NAME.fullmatch(folder.name) for root in roots for folder in root.glob("*")}
    folders = {folder: UUID(name["job"]) for folder, name in named.items() if name}
    if not folders:
        return
    going_on = unfinished(engine, set(folders.values()))
    for folder, job_id in folders.items():
        if job_id not in going_on:
            shutil.rmtree(folder, ignore_errors=True)


def _earlier(root: Path, lease: Lease) -> list[Path]:
    return sorted(left for left in root.glob(f"{lease.job_id}-*") if left.name < name_of(lease))
