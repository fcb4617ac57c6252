"""Where a job's child keeps what it cannot hold in memory, and what it has done: the next attempt here goes on."""

import re
import shutil
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from jobs.store import Lease, unfinished

NAME = re.compile(r"(?P<job>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d+")


def take_work_folder(root: Path, lease: Lease) -> Path:
    """Make the folder of a claim, from the one that an earlier claim of the job left here, if there is one.

    Each claim has a name of its own. Who lost his lease, and does not know it yet, finds his folder gone: he cannot
    write into his successor's. Nor does he take it, if he was late: his claim is the earlier one.
    """
    folder = root / f"{lease.job_id}-{lease.claim:020d}"
    earlier = sorted(left for left in root.glob(f"{lease.job_id}-*") if left.name < folder.name)
    if earlier:
        earlier.pop().rename(folder)
    for left in earlier:
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sweep_work_folders(engine: Engine, root: Path) -> None:
    """Remove the folders of jobs that ended elsewhere, after they had been worked on here."""
    named = {folder: NAME.fullmatch(folder.name) for folder in root.glob("*")}
    folders = {folder: UUID(name["job"]) for folder, name in named.items() if name}
    if not folders:
        return
    going_on = unfinished(engine, set(folders.values()))
    for folder, job_id in folders.items():
        if job_id not in going_on:
            shutil.rmtree(folder, ignore_errors=True)
