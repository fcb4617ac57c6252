"""What is published in an object store, as those see it who read it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from registry.manifest import DamagedManifestError, Manifest, ManifestFile, commit_of, decode_manifest
from registry.names import is_model_name
from registry.objects import layout
from registry.objects.store import ObjectStore
from registry.reading import Model
from registry.tombstones import Tombstone


@dataclass(frozen=True)
class Blob:
    """The content of a published file."""

    store: ObjectStore
    sha256: str

    def read(self, start: int, end: int) -> Iterator[bytes]:
        return self.store.pieces(layout.blob(self.sha256), start, end)


@dataclass(frozen=True)
class ObjectVersion:
    """A checkpoint in an object store; `location` is the address that its manifest lies below."""

    manifest: Manifest
    commit: str
    job_id: str
    location: str
    store: ObjectStore = field(repr=False, compare=False)

    def file(self, path: str) -> tuple[ManifestFile, Blob] | None:
        """Find a file by its path in the checkpoint, and its content, while that is whole."""
        named = next((file for file in self.manifest.files if file.path == path), None)
        if named is None or self.store.size(layout.blob(named.sha256)) != named.bytes:
            return None
        return named, Blob(self.store, named.sha256)


@dataclass(frozen=True)
class Place:
    """What lies where a job's version is: a manifest, which may be missing, and the commits it may be.

    A commit is written before its manifest. Two claims of a job leave two commits, and the manifest is one of them.

    Attributes:
        others: keys of what is no part of a version.
    """

    job_id: str
    content: bytes | None
    commits: list[str]
    others: list[str]

    def read(self) -> tuple[Manifest, str]:
        """Read the manifest, and give it with its commit.

        Raises:
            DamagedManifestError: there is none, or not one that was published.
        """
        expected = " or ".join(self.commits) or "unknown"
        if self.content is None:
            raise DamagedManifestError(expected, "missing")
        found = commit_of(self.content)
        return decode_manifest(self.content, found if found in self.commits else expected), found


def find_model(store: ObjectStore, name: str) -> Model | None:
    """Find what was published as `owner/name`; None if nothing ever was, or nothing of ours."""
    if not is_model_name(name):
        return None
    tombstones = list_tombstones(store, name)
    versions = []
    for place in list_places(store, name):
        if place.job_id not in tombstones:
            try:
                manifest, commit = place.read()
            except DamagedManifestError:
                continue
            location = store.address(layout.version(name, place.job_id))
            versions.append(ObjectVersion(manifest, commit, place.job_id, location, store))
    return Model.of(name, versions, list_tags(store, name), filter(None, tombstones.values()))


def list_names(store: ObjectStore) -> list[str]:
    """Name the models that there is, or was, a version of."""
    return sorted(layout.models_in([*store.list(layout.VERSIONS), *store.list(layout.TOMBSTONES)]))


def list_places(store: ObjectStore, name: str) -> list[Place]:
    """Give what lies where versions of a model are; a place that has only commits is of a publishing under way."""
    keys: dict[str, list[str]] = {}
    for key in store.list(f"{layout.VERSIONS}/{name}"):
        job_id = layout.job_in(key)
        if job_id is not None:
            keys.setdefault(job_id, []).append(key)
    contents = store.read_all(
        key for job_id, there in keys.items() for key in there if key == layout.manifest(name, job_id)
    )
    return [
        Place(
            job_id,
            contents.get(layout.manifest(name, job_id)),
            [commit for key in there if (commit := layout.commit_in(key))],
            [key for key in there if key not in contents and not layout.commit_in(key)],
        )
        for job_id, there in sorted(keys.items())
    ]


def read_place(store: ObjectStore, name: str, job_id: str) -> Place | None:
    """Give what lies where a job publishes; None if it has not published."""
    places = (place for place in list_places(store, name) if place.job_id == job_id)
    return next((place for place in places if place.content is not None), None)


def list_tags(store: ObjectStore, name: str) -> dict[str, str]:
    """Give the commit of each of a model's tags, also of those whose version was deleted."""
    contents = store.read_all(store.list(f"{layout.TAGS}/{name}"))
    return {
        key.rsplit("/", 1)[-1]: contents[key].decode("utf-8", "replace").strip() for key in sorted(contents)
    }


def list_tombstones(store: ObjectStore, name: str) -> dict[str, Tombstone | None]:
    """Tell by their jobs which versions of a model were deleted; None of those that nothing more can be told of."""
    found: dict[str, Tombstone | None] = {}
    for key, content in store.read_all(store.list(f"{layout.TOMBSTONES}/{name}")).items():
        job_id = layout.job_in(key)
        if job_id is not None:
            try:
                found[job_id] = Tombstone.model_validate_json(content)
            except ValidationError:
                found[job_id] = None
    return found
