"""Folders of a job's claims: one where its child works, one where it stages a checkpoint, each with a name of its own.

Who lost his lease and does not know it yet shares no folder with his successor: whatever he still writes, nobody reads.
"""

import re
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from jobs.states import TERMINAL, State
from jobs.store import Lease, find_all
from registry.card import checkpoint_name
from registry.opening import Registry

NAME = re.compile(r"(?P<job>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d+")


def name_of(lease: Lease) -> str:
    """Name the folders of a claim; names of one job's claims sort as they were made."""
    return f"{lease.job_id}-{lease.claim:020d}"


def checkpoint_of(job_id: UUID, request: dict[str, Any]) -> str:
    """Name what a job publishes, by its request as it was accepted: with the ratio that follows from named layers."""
    wanted: str | None = request["destination"].get("name")
    return wanted or checkpoint_name(request["model"]["id"], request["method"], request["ratio"], str(job_id))


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


def discard_earlier_claims(registry: Registry, lease: Lease) -> None:
    """Discard what earlier claims of the job staged."""
    for claim in registry.claims():
        if claim.startswith(f"{lease.job_id}-") and claim < name_of(lease):
            registry.discard(claim)


def sweep_claims(engine: Engine, work_root: Path, registry: Registry) -> None:
    """Remove the folders of jobs that have ended, wherever they did, and what they published without success."""
    claims = {*registry.claims(), *(folder.name for folder in work_root.glob("*"))}
    jobs = {claim: UUID(name["job"]) for claim in claims if (name := NAME.fullmatch(claim))}
    if not jobs:
        return
    found = find_all(engine, set(jobs.values()))
    for claim, job_id in jobs.items():
        job = found.get(job_id)
        if job is None or job.state in TERMINAL:
            if job is not None and job.state != State.SUCCEEDED:
                # Who published it died before he could say so. If it cannot be done now, the folders tell of it later.
                registry.withdraw(claim, str(job_id), checkpoint_of(job_id, job.request))
            shutil.rmtree(work_root / claim, ignore_errors=True)
            registry.discard(claim)
