"""The local registry: a folder in which a checkpoint appears whole or not at all."""

import errno
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import BaseModel

from registry.durable import sync, sync_tree
from registry.manifest import MANIFEST_NAME, Manifest, ManifestFile, describe_files

CHECKPOINT, TOKEN = "checkpoint", "token"
"""What is in a claim's folder; only who has the folder that was made for the claim finds a token there."""

GIVEN_UP = ".given-up"


class Artifact(BaseModel):
    """A published checkpoint: what a job's result points to.

    `location` is what `from_pretrained` takes: the checkpoint's folder.
    """

    name: str
    location: str
    bytes: int
    files: list[ManifestFile]


class NameTakenError(RuntimeError):
    """Another job has already published under this name."""


class GivenUpError(RuntimeError):
    """What the claim staged was discarded: the job is another claim's, or has ended."""


class NotWritableError(RuntimeError):
    """The registry's folder cannot be written to."""


class LocalRegistry:
    """Checkpoints under `root`: `root/<name>` for each, `root/.staging/<claim>` while they are being written.

    A claim is what a job is worked on under; a job may have several, one after the other, and then each stages apart.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging_root = root / ".staging"

    def require_writable(self) -> None:
        """Check, by writing, that checkpoints can be published.

        Raises:
            NotWritableError: with the system's own words.
        """
        staging = self.staging_root
        try:
            staging.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=staging):
                pass
        except OSError as error:
            raise NotWritableError(
                f"the registry at {self.root} cannot be written to ({error.strerror})."
            ) from error

    def claims(self) -> list[str]:
        """Name the claims that have staged something."""
        return sorted({folder.name.removesuffix(GIVEN_UP) for folder in self.staging_root.glob("*")})

    def stage(self, claim: str) -> Path:
        """Give an empty folder to write a checkpoint into, on the same file system as its final place."""
        self.discard(claim)
        folder = self.staging_root / claim / CHECKPOINT
        folder.mkdir(parents=True)
        (folder.parent / TOKEN).touch()
        return folder

    def discard(self, claim: str) -> None:
        """Delete what a claim staged and did not publish, also under the hands of one who still writes.

        It goes in one step: whoever would publish it finds all of it or no token.
        """
        self._give_up(self.staging_root / claim, claim)

    def withdraw(self, claim: str, job_id: str, name: str) -> None:
        """Delete what the job published, if it did: it has ended in another way, and nobody was told of it."""
        with suppress(NameTakenError):
            self._published(name, job_id)
            self._give_up(self.root / name, claim)

    def publish(self, claim: str, job_id: str, name: str) -> Artifact:
        """Move what `claim` of `job_id` staged to its final place: digest, write the manifest, flush, rename.

        A job publishes once: when an earlier claim of it came as far as the rename, what that one published is the
        artifact, and what was staged now is deleted.

        Raises:
            NameTakenError: another job has published under `name`.
            GivenUpError: what the claim staged was discarded.
        """
        staged, final = self.staging_root / claim / CHECKPOINT, self.root / name
        if not final.exists():
            self._take_token(claim)
            self._make_public(staged)
            manifest = Manifest(name=name, job_id=job_id, files=describe_files(staged))
            (staged / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
            sync_tree(staged)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                staged.rename(final)
            except OSError as error:
                # Another claim of the job was quicker; its checkpoint is looked at below.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            # The folders above may be as new as the checkpoint.
            for folder in final.parents:
                if folder.is_relative_to(self.root):
                    sync(folder)
        artifact = self._published(name, job_id)
        self.discard(claim)
        return artifact

    def _give_up(self, folder: Path, claim: str) -> None:
        aside = self.staging_root / f"{claim}{GIVEN_UP}"
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _published(self, name: str, job_id: str) -> Artifact:
        folder = self.root / name
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NameTakenError(
                f"There is something else at {folder}, without a manifest of ours."
            ) from error
        if manifest.job_id != job_id:
            raise NameTakenError(f"{name} was published by job {manifest.job_id}.")
        return Artifact(name=name, location=str(folder), bytes=manifest.bytes, files=manifest.files)

    def _take_token(self, claim: str) -> None:
        """Make sure that this is the folder that was staged: who writes a checkpoint makes anew what is gone."""
        try:
            (self.staging_root / claim / TOKEN).unlink()
        except FileNotFoundError as error:
            raise GivenUpError(f"what {claim} staged was discarded") from error

    @staticmethod
    def _make_public(folder: Path) -> None:
        """Let everyone read what `save_pretrained` writes for its owner alone."""
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        folder.chmod(0o755)
