"""Folders of a job's claims: one where its child works, one where it stages a checkpoint, each with a name of its own.

Who lost his lease and does not know it yet shares no folder with his successor: whatever he still writes, nobody reads.
"""

import re
import shutil
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from jobs.store import Lease, unfinished
from registry.local import LocalRegistry

NAME = re.compile(r"(?P<job>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d+")


def name_of(lease: Lease) -> str:
    """Name the folders of a claim; names of one job's claims sort as they were made."""
    return f"{lease.job_id}-{lease.claim:020d}"


def take_work_folder(root: Path, lease: Lease) -> Path:
    """Make the folder of a claim, from the one that an earlier claim of the job left here, if there is one.

    The next attempt goes on from what is in it. Who was late does not take it: his claim is the earlier one.
    """
    folder = root / name_of(lease)
    earlier = sorted(left for left in root.glob(f"{lease.job_id}-*") if left.name < folder.name)
    if earlier:
        earlier.pop().rename(folder)
    for left in earlier:
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def discard_earlier_claims(registry: LocalRegistry, lease: Lease) -> None:
    """Discard what earlier claims of the job staged."""
    for claim in registry.claims():
        if claim.startswith(f"{lease.job_id}-") and claim < name_of(lease):
            registry.discard(claim)


def sweep_claims(engine: Engine, work_root: Path, registry: LocalRegistry) -> None:
    """Remove the folders of jobs that have ended, wherever they did."""
    claims = {*registry.claims(), *(folder.name for folder in work_root.glob("*"))}
    jobs = {claim: UUID(name["job"]) for claim in claims if (name := NAME.fullmatch(claim))}
    if not jobs:
        return
    going_on = unfinished(engine, set(jobs.values()))
    for claim, job_id in jobs.items():
        if job_id not in going_on:
            shutil.rmtree(work_root / claim, ignore_errors=True)
            registry.discard(claim)
