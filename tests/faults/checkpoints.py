"""What a job that survived must have left: one whole checkpoint, the same as that of a job that nothing happened to."""

import hashlib
from collections import defaultdict
from pathlib import Path
from uuid import UUID

from registry.local import LocalRegistry
from registry.manifest import MANIFEST_NAME, Manifest
from tests.worker.crew import Crew

TELLING = {"README.md", "secateur.json"}
"""They name the job, and tell how long it took."""


def published_by_job(registry: LocalRegistry) -> dict[str, list[Path]]:
    """Give the folders that each job published."""
    published = defaultdict(list)
    for path in registry.root.glob(f"pruned/*/{MANIFEST_NAME}"):
        published[Manifest.model_validate_json(path.read_bytes()).job_id].append(path.parent)
    return published


def digests_of(folder: Path) -> dict[str, str]:
    """See that what the manifest lists is there, to the last bit, and nothing besides.

    Returns:
        The digests of all files that do not depend on when and how often the job was run.
    """
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    digests = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file.name != MANIFEST_NAME
    }
    assert {file.path: file.sha256 for file in manifest.files} == digests
    return {name: digest for name, digest in digests.items() if name not in TELLING}


def require_one_whole_checkpoint(crew: Crew, job_id: UUID) -> dict[str, str]:
    """See that the job has published once and all of it; give its digests."""
    (folder,) = published_by_job(LocalRegistry(crew.settings.registry_root))[str(job_id)]
    return digests_of(folder)


def require_nothing_left(work_root: Path, registry: LocalRegistry) -> None:
    """See that no claim's folder is left where jobs work and stage."""
    assert list(work_root.iterdir()) == []
    assert registry.claims() == []
