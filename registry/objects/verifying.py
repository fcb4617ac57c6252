"""Is what is published in an object store still what was published, to the last bit?"""

import hashlib
from collections.abc import Iterator

from registry.manifest import MANIFEST_NAME, DamagedManifestError
from registry.objects import layout
from registry.objects.reading import Place, list_places
from registry.objects.store import ObjectStore
from registry.verifying import MISSING, UNKNOWN, Finding


class ObjectVerification:
    """Verifies versions by reading their blobs from the store; one that several versions share is read once.

    Attributes:
        versions: how many were verified.
        bytes: how much was read.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._digests: dict[str, str] = {}
        self.versions = 0
        self.bytes = 0

    def verify(self, name: str) -> Iterator[Finding]:
        """Give what is wrong with the versions of a model."""
        for place in list_places(self._store, name):
            if place.content is None and not place.others:
                # Somebody publishes at this moment, or could not go on.
                continue
            findings = list(self._verify_version(name, place))
            # What is deleted at this moment is not damaged.
            if self._store.size(layout.tombstone(name, place.job_id)) is None:
                self.versions += 1
                yield from findings

    def _verify_version(self, name: str, place: Place) -> Iterator[Finding]:
        location = self._store.address(layout.version(name, place.job_id))
        for key in place.others:
            yield Finding(
                location, key.removeprefix(f"{layout.version(name, place.job_id)}/"), UNKNOWN, "there"
            )
        try:
            manifest, _ = place.read()
        except DamagedManifestError as error:
            yield Finding(location, MANIFEST_NAME, error.expected, error.found)
            return
        for file in manifest.files:
            found = self._digest(file.sha256)
            if found != file.sha256:
                yield Finding(location, file.path, file.sha256, found)

    def _digest(self, sha256: str) -> str:
        if sha256 not in self._digests:
            self._digests[sha256] = self._read(layout.blob(sha256))
        return self._digests[sha256]

    def _read(self, key: str) -> str:
        size = self._store.size(key)
        if size is None:
            return MISSING
        digest = hashlib.sha256()
        try:
            for piece in self._store.pieces(key, 0, size):
                digest.update(piece)
        except FileNotFoundError:
            return MISSING
        self.bytes += size
        return digest.hexdigest()
