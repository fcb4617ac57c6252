"""The local registry: a folder in which a checkpoint appears whole or not at all."""

import errno
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import BaseModel

from registry.blobs import Blobs
from registry.durable import sync_tree, sync_up
from registry.layout import Layout
from registry.manifest import MANIFEST_NAMES, Manifest, ManifestFile, describe_files
from registry.reading import find_model, read_version

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


class LocalArtifact(Artifact):
    """A version of a model in the local registry; `commit` is what it is pinned by."""

    commit: str


class NameTakenError(RuntimeError):
    """Something else lies where the job would publish."""


class DeletedError(RuntimeError):
    """The job has published before, and its version was deleted since."""


class GivenUpError(RuntimeError):
    """What the claim staged was discarded: the job is another claim's, or has ended."""


class NotWritableError(RuntimeError):
    """The registry's folder cannot be written to."""


class LocalRegistry:
    """Versions of models under `root`, and what is not published yet under `root/.staging/<claim>`.

    A claim is what a job is worked on under; a job may have several, one after the other, and then each stages apart.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)
        self.staging_root = self.layout.staging
        self._blobs = Blobs(self.layout.blobs)

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

    def take(self, claim: str) -> Path:
        """Give the folder that a claim staged, once: who writes a checkpoint makes anew what is gone.

        Raises:
            GivenUpError: what the claim staged was discarded.
        """
        try:
            (self.staging_root / claim / TOKEN).unlink()
        except FileNotFoundError as error:
            raise GivenUpError(f"what {claim} staged was discarded") from error
        return self.staging_root / claim / CHECKPOINT

    def discard(self, claim: str) -> None:
        """Delete what a claim staged and did not publish, also under the hands of one who still writes.

        It goes in one step: whoever would publish it finds all of it or no token.
        """
        self._remove(self._give_up(self.staging_root / claim, claim))

    def withdraw(self, claim: str, job_id: str, name: str) -> None:
        """Delete what the job published, if it did: it has ended in another way, and nobody was told of it."""
        with suppress(NameTakenError, DeletedError):
            self._published(name, job_id)
            self.remove(name, job_id, aside=claim)

    def remove(self, name: str, job_id: str, aside: str) -> int:
        """Delete a version in one step; `aside` names the place where it ends. Give how many bytes that frees."""
        folder = self.layout.version(name, job_id)
        freed = self._remove(self._give_up(folder, aside))
        # The model may have other versions.
        with suppress(OSError):
            folder.parent.rmdir()
        return freed

    def collect_garbage(self) -> int:
        """Finish removals that were cut off, and remove blobs that no version has; give how many bytes that frees."""
        freed = sum(self._remove(aside) for aside in self.staging_root.glob(f"*{GIVEN_UP}"))
        return freed + self._blobs.collect()

    def publish(self, claim: str, job_id: str, name: str) -> LocalArtifact:
        """Make a version of model `name` of what `claim` of `job_id` staged: digest, share, flush, rename.

        A job publishes once: when an earlier claim of it came as far as the rename, what that one published is the
        artifact, and what was staged now is deleted.

        Raises:
            NameTakenError: something else lies where the version would.
            DeletedError: an earlier claim has published, and its version was deleted.
            GivenUpError: what the claim staged was discarded.
        """
        final = self.layout.version(name, job_id)
        if not (final.exists() or self.layout.tombstone(name, job_id).exists()):
            staged = self.take(claim)
            self._seal(staged, name, job_id)
            self._rename(staged, final)
            sync_up(final.parent, self.root)
        # A deletion may have come between the look above and the rename; then nobody is given what was renamed.
        artifact = self._published(name, job_id)
        self.discard(claim)
        return artifact

    def _seal(self, staged: Path, name: str, job_id: str) -> None:
        """Describe what was staged, let nobody write to it, and share what other versions have of it."""
        files = describe_files(staged)
        manifest = Manifest(name=name, job_id=job_id, published_at=self._later_than_all(name), files=files)
        # Before anything is shared: whoever discards this learns from it what may be nobody's then.
        manifest.write(staged)
        for path in [staged, *staged.rglob("*")]:
            # `save_pretrained` writes some for its owner alone.
            path.chmod(0o755 if path.is_dir() else 0o444)
        for file in files:
            self._blobs.share(staged / file.path, file.sha256)
        sync_tree(staged)

    def _later_than_all(self, name: str) -> datetime:
        model = find_model(self.root, name)
        return datetime.now(UTC) if model is None else model.time_after()

    @staticmethod
    def _rename(staged: Path, final: Path) -> None:
        while True:
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                staged.rename(final)
            except FileNotFoundError:
                # The model's folder went with its last version, unless what was staged was discarded.
                if not staged.exists():
                    raise
                continue
            except OSError as error:
                # Another claim of the job was quicker.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            return

    def _give_up(self, folder: Path, claim: str) -> Path:
        """Move a folder to where all that is in it goes, once that is empty."""
        aside = self.staging_root / f"{claim}{GIVEN_UP}"
        self._remove(aside)
        with suppress(FileNotFoundError):
            folder.rename(aside)
        return aside

    def _remove(self, aside: Path) -> int:
        """Delete what was given up, and the blobs that were only its; if that is cut off, it can be done again."""
        freed = 0
        version = read_version(aside / CHECKPOINT) or read_version(aside)
        if version is not None:
            # What tells of the blobs goes last. Who collects garbage may be at it as well.
            with suppress(FileNotFoundError):
                for path in [path for path in version.folder.iterdir() if path.name not in MANIFEST_NAMES]:
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink(missing_ok=True)
            freed = self._blobs.release(file.sha256 for file in version.manifest.files)
        shutil.rmtree(aside, ignore_errors=True)
        return freed

    def _published(self, name: str, job_id: str) -> LocalArtifact:
        if self.layout.tombstone(name, job_id).exists():
            raise DeletedError(f"What job {job_id} published as {name} was deleted.")
        folder = self.layout.version(name, job_id)
        version = read_version(folder)
        if version is None:
            raise NameTakenError(f"There is something else at {folder}, without a manifest of ours.")
        manifest = version.manifest
        return LocalArtifact(
            name=name,
            location=str(folder),
            bytes=manifest.bytes,
            files=manifest.files,
            commit=version.commit,
        )
