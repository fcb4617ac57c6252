"""Where in the registry's folder what lies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.names import is_model_name

_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Layout:
    """The places below `root`.

    `owner/name/<job>` is a version of a model, named by the job that published it: a job has one place and no more.
    `.staging/<claim>` is a checkpoint that is being written, `.blobs/<sha256>` the content of files,
    `.tags/owner/name/<tag>` a commit, and `.deleted/owner/name/<job>.json` what is known of a version that is gone.
    """

    root: Path

    @property
    def staging(self) -> Path:
        return self.root / ".staging"

    @property
    def blobs(self) -> Path:
        return self.root / ".blobs"

    def version(self, name: str, job_id: str) -> Path:
        return self.root / name / job_id

    def tags(self, name: str) -> Path:
        return self.root / ".tags" / name

    def tombstones(self, name: str) -> Path:
        return self.root / ".deleted" / name

    def tombstone(self, name: str, job_id: str) -> Path:
        return self.tombstones(name) / f"{job_id}.json"

    def models(self) -> list[str]:
        """Name the models that there is, or was, a version of."""
        places = [*self.root.glob("[!.]*/[!.]*"), *self.root.glob(".deleted/*/*")]
        names = {f"{place.parent.name}/{place.name}" for place in places if place.is_dir()}
        return sorted(filter(is_model_name, names))

    def versions(self, name: str) -> list[Path]:
        """Give the folders of a model's versions that were not deleted, also those that cannot be read."""
        return [folder for folder in self._folders(name) if not self.tombstone(name, folder.name).exists()]

    def remains(self, name: str) -> list[Path]:
        """Give the folders of versions that were deleted and are still there."""
        return [folder for folder in self._folders(name) if self.tombstone(name, folder.name).exists()]

    def _folders(self, name: str) -> Iterator[Path]:
        model = self.root / name
        # Whoever can write to the registry could have put a link in the place of a folder.
        if model.is_symlink() or model.parent.is_symlink():
            return
        for folder in sorted(model.glob("*")):
            if is_job(folder.name) and folder.is_dir() and not folder.is_symlink():
                yield folder


def is_job(name: str) -> bool:
    """Tell whether this is what a version's place is named by: the id of a job."""
    return bool(_JOB.fullmatch(name))
