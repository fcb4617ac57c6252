"""A registry in an object store: a version is there from the moment that its manifest is.

Nothing is locked, and nothing of it can be renamed. So contents go first, each under its digest, and the manifest goes
last, to a key that only this job has and that the store gives to the first who writes it.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from registry.local import DeletedError, LocalArtifact, LocalRegistry, NameTakenError, NotWritableError
from registry.manifest import (
    DamagedManifestError,
    Manifest,
    ManifestFile,
    commit_line,
    commit_of,
    describe_files,
    encode_manifest,
)
from registry.objects import layout
from registry.objects.garbage import KEPT_FOR, remove_version
from registry.objects.reading import find_model, read_place
from registry.objects.store import ObjectStore

WAITS_SECONDS = (1.0, 5.0, 15.0, 60.0)
"""Before each time that a publishing is tried again: behind it stand hours of work."""

_FINAL = (PermissionError, FileNotFoundError, NameTakenError, DeletedError)

log = structlog.get_logger()


class ObjectRegistry:
    """Versions of models in a store, and what is not published yet in the folder of a local registry."""

    def __init__(self, store: ObjectStore, staging: LocalRegistry) -> None:
        self._store = store
        self._staging = staging

    def require_writable(self) -> None:
        """Check, by writing here and there, that checkpoints can be published.

        Raises:
            NotWritableError: with the system's or the store's own words.
        """
        self._staging.require_writable()
        try:
            self._store.write("writable", b"")
        except Exception as error:  # each store has errors of its own
            raise NotWritableError(
                f"the registry at {self._store.url} cannot be written to ({error})."
            ) from error

    def claims(self) -> list[str]:
        """Name the claims that have staged something on this machine."""
        return self._staging.claims()

    def stage(self, claim: str) -> Path:
        """Give an empty folder to write a checkpoint into, on this machine."""
        return self._staging.stage(claim)

    def discard(self, claim: str) -> None:
        """Delete what a claim staged and did not publish. What it uploaded is garbage, to be collected."""
        self._staging.discard(claim)

    def withdraw(self, claim: str, job_id: str, name: str) -> None:  # noqa: ARG002  nothing is put aside
        """Delete what the job published, if it did: it has ended in another way, and nobody was told of it."""
        remove_version(self._store, name, job_id)

    def publish(self, claim: str, job_id: str, name: str) -> LocalArtifact:
        """Make a version of model `name` of what `claim` of `job_id` staged: digest, upload, write the manifest.

        A job publishes once: when another claim's manifest is there first, its version is the artifact, and what was
        staged now is deleted. A store that is away is tried again for more than a minute.

        Raises:
            NameTakenError: something else lies where the version would.
            DeletedError: an earlier claim has published, and its version was deleted.
            GivenUpError: what the claim staged was discarded.
        """
        if read_place(self._store, name, job_id) is None and not self._is_deleted(name, job_id):
            staged = self._staging.take(claim)
            files = describe_files(staged)
            self._patiently_upload(staged, files, name, job_id)
        # A deletion may have come between the look above and the manifest.
        artifact = self._published(name, job_id)
        self.discard(claim)
        return artifact

    def _patiently_upload(self, staged: Path, files: list[ManifestFile], name: str, job_id: str) -> None:
        waits = iter(WAITS_SECONDS)
        while True:
            try:
                self._upload(staged, files, name, job_id)
            except _FINAL:
                raise
            except Exception as error:  # each store has errors of its own
                wait = next(waits, None)
                if wait is None:
                    raise
                log.warning("the object store is asked again", error=str(error), seconds=wait)
                time.sleep(wait)
            else:
                return

    def _upload(self, staged: Path, files: list[ManifestFile], name: str, job_id: str) -> None:
        self._upload_blobs(staged, files)
        model = find_model(self._store, name)
        now = datetime.now(UTC) if model is None else model.time_after()
        content = encode_manifest(Manifest(name=name, job_id=job_id, published_at=now, files=files))
        commit = commit_of(content)
        self._store.write(layout.commit(name, job_id, commit), commit_line(commit).encode())
        self._store.create(layout.manifest(name, job_id), content)
        # Somebody who collected garbage may have looked at an old blob just before it was uploaded again.
        self._upload_blobs(staged, files)

    def _upload_blobs(self, staged: Path, files: Sequence[ManifestFile]) -> None:
        for file in files:
            key = layout.blob(file.sha256)
            if self._store.size(key) != file.bytes or self._is_old(key):
                self._store.upload(staged / file.path, key)

    def _is_old(self, key: str) -> bool:
        """Tell whether a blob might be collected before the manifest that names it is there."""
        with suppress(FileNotFoundError):
            return datetime.now(UTC) - self._store.written_at(key) > KEPT_FOR / 2
        return True

    def _is_deleted(self, name: str, job_id: str) -> bool:
        return self._store.size(layout.tombstone(name, job_id)) is not None

    def _published(self, name: str, job_id: str) -> LocalArtifact:
        if self._is_deleted(name, job_id):
            raise DeletedError(f"What job {job_id} published as {name} was deleted.")
        place, location = (
            read_place(self._store, name, job_id),
            self._store.address(layout.version(name, job_id)),
        )
        try:
            if place is None:
                raise DamagedManifestError("unknown", "missing")  # noqa: TRY301
            manifest, commit = place.read()
        except DamagedManifestError as error:
            raise NameTakenError(
                f"There is something else at {location}, without a manifest of ours."
            ) from error
        return LocalArtifact(
            name=name, location=location, bytes=manifest.bytes, files=manifest.files, commit=commit
        )
