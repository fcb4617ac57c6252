"""Where a job's child keeps what it cannot hold in memory: a folder for each attempt, which is gone with it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.store import Lease


@contextmanager
def work_folder(root: Path, lease: Lease) -> Iterator[Path]:
    """Lend an attempt's folder, and remove what an earlier attempt left whose whole machine died.

    Each attempt has its own, so that a worker which lost its lease cannot remove its successor's.
    """
    for left in root.glob(f"{lease.job_id}-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = root / f"{lease.job_id}-{lease.attempt}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
