"""What no version in an object store needs any more."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from registry.objects import layout
from registry.objects.reading import list_names, list_places, list_tombstones
from registry.objects.store import ObjectStore

KEPT_FOR = timedelta(hours=24)
"""How long after it was written a blob is kept for the manifest that may be on its way.

Who publishes relies only on blobs that are younger than half of this: it has the other half for the rest.
"""


def remove_version(store: ObjectStore, name: str, job_id: str) -> None:
    """Remove a version in one step, its manifest, and then what is beside it. Its blobs are garbage, or others'."""
    store.remove(layout.manifest(name, job_id))
    for key in store.list(layout.version(name, job_id)):
        store.remove(key)


def collect_garbage(store: ObjectStore) -> int:
    """Finish removals, and remove blobs that no version has and that are old enough; give the bytes that frees.

    Raises:
        DamagedManifestError: nothing tells which blobs a version needs; nothing is removed.
    """
    # Before the manifests: a blob that comes later is nobody's garbage.
    blobs = store.list(layout.BLOBS)
    needed: set[str] = set()
    remains: list[tuple[str, str]] = []
    unfinished: list[str] = []
    for name in list_names(store):
        tombstones = list_tombstones(store, name)
        for place in list_places(store, name):
            if place.job_id in tombstones:
                remains.append((name, place.job_id))
            elif place.content is None:
                unfinished += [layout.commit(name, place.job_id, commit) for commit in place.commits]
            else:
                manifest, _ = place.read()
                needed.update(layout.blob(file.sha256) for file in manifest.files)
    for name, job_id in remains:
        remove_version(store, name, job_id)
    _remove_old(store, unfinished)
    return sum(blobs[key] for key in _remove_old(store, blobs.keys() - needed))


def _remove_old(store: ObjectStore, keys: Iterable[str]) -> list[str]:
    removed = []
    for key in keys:
        # Somebody else may collect as well.
        with suppress(FileNotFoundError):
            if datetime.now(UTC) - store.written_at(key) > KEPT_FOR:
                store.remove(key)
                removed.append(key)
    return removed
