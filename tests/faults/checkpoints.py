"""What a job that survived must have left: one whole checkpoint, the same as that of a job that nothing happened to."""

import hashlib
from collections import defaultdict
from pathlib import Path
from uuid import UUID

from registry.local import LocalRegistry
from registry.manifest import MANIFEST_NAME, MANIFEST_NAMES, Manifest
from tests.worker.crew import Crew

TELLING = {"README.md", "secateur.json"}
"""They name the job, and tell how long it took."""


def published_by_job(registry: LocalRegistry) -> dict[str, list[Path]]:
    """Give the folders that each job published."""
    published = defaultdict(list)
    for path in registry.root.glob(f"*/*/*/{MANIFEST_NAME}"):
        published[Manifest.read(path.parent)[0].job_id].append(path.parent)
    return published


def digests_of(folder: Path) -> dict[str, str]:
    """See that what the manifest lists is there, to the last bit, and nothing besides.

    Returns:
        The digests of all files that do not depend on when and how often the job was run.
    """
    manifest, _ = Manifest.read(folder)
    digests = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in MANIFEST_NAMES
    }
    assert {file.path: file.sha256 for file in manifest.files} == digests
    return {name: digest for name, digest in digests.items() if name not in TELLING}


def require_one_whole_checkpoint(crew: Crew, job_id: UUID) -> dict[str, str]:
    """See that the job has published once and all of it; give its digests."""
    (folder,) = published_by_job(LocalRegistry(crew.settings.registry_root))[str(job_id)]
    return digests_of(folder)


def require_nothing_left(work_root: Path, registry: LocalRegistry) -> None:
    """See that no claim's folder is left where jobs work and stage, and no content that nothing published has."""
    assert list(work_root.iterdir()) == []
    assert registry.claims() == []
    assert [blob.name for blob in registry.layout.blobs.glob("*") if blob.stat().st_nlink == 1] == []
