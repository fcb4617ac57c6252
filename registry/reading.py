"""What is published in the local registry, as those see it who read it: models with versions, tags and tombstones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, Self

from registry.layout import Layout
from registry.manifest import DamagedManifestError, Manifest, ManifestFile
from registry.names import LATEST, MAIN, is_commit, is_model_name
from registry.tags import list_tags
from registry.tombstones import Tombstone, list_tombstones


class Content(Protocol):
    """The bytes of a published file that lies elsewhere than on this machine."""

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Give the bytes from `start` up to `end`, in pieces."""


class Version(Protocol):
    """A published checkpoint.

    Attributes:
        commit: 40 hexadecimal digits that are of this version alone: the SHA-1 of its manifest.
        job_id: the job that published it, by the place where it lies.
        location: that place, for people.
    """

    @property
    def manifest(self) -> Manifest: ...
    @property
    def commit(self) -> str: ...
    @property
    def job_id(self) -> str: ...
    @property
    def location(self) -> str: ...

    def file(self, path: str) -> tuple[ManifestFile, Path | Content] | None:
        """Find a file by its path in the checkpoint, and where its bytes are; None if it is not there."""


@dataclass(frozen=True)
class LocalVersion:
    """A checkpoint in the registry's folder; `folder` is where its files lie."""

    manifest: Manifest
    commit: str
    folder: Path

    @property
    def job_id(self) -> str:
        return self.folder.name

    @property
    def location(self) -> str:
        return str(self.folder)

    def file(self, path: str) -> tuple[ManifestFile, Path] | None:
        """Find a file by its path in the checkpoint, and where it lies.

        Only what the manifest names is one, and only while it lies in the checkpoint: whoever can write to the
        registry could have put a link in its place.
        """
        named = next((file for file in self.manifest.files if file.path == path), None)
        if named is None:
            return None
        place = (self.folder / named.path).resolve()
        return (named, place) if place.is_relative_to(self.folder) and place.is_file() else None


@dataclass(frozen=True)
class Model:
    """What was published under one name.

    Attributes:
        versions: those that were not deleted, the newest first.
        tags: the commit that each names, which may have been deleted since.
        tombstones: of versions that were deleted, the newest first.
    """

    name: str
    versions: Sequence[Version]
    tags: dict[str, str]
    tombstones: list[Tombstone]

    @classmethod
    def of(
        cls, name: str, versions: Iterable[Version], tags: dict[str, str], tombstones: Iterable[Tombstone]
    ) -> Self | None:
        """Put what was found in order; None if nothing was."""
        model = cls(
            name,
            sorted(versions, key=lambda each: each.manifest.published_at, reverse=True),
            tags,
            sorted(tombstones, key=lambda each: each.published_at, reverse=True),
        )
        return model if model.versions or model.tombstones else None

    def at(self, revision: str) -> Version | None:
        """Find the version that a revision is: `main` or `latest`, a tag, a commit or enough of its first digits."""
        if revision in (MAIN, LATEST):
            return self.versions[0] if self.versions else None
        commit = self._only(revision, [version.commit for version in self.versions])
        return next((version for version in self.versions if version.commit == commit), None)

    def deleted_at(self, revision: str) -> Tombstone | None:
        """Find the tombstone of what a revision was; of `main`, if nothing is left, what was newest."""
        if revision in (MAIN, LATEST):
            return None if self.versions else next(iter(self.tombstones), None)
        commit = self._only(revision, [tombstone.commit for tombstone in self.tombstones])
        return next((tombstone for tombstone in self.tombstones if tombstone.commit == commit), None)

    def time_after(self) -> datetime:
        """Now, but later than each version there is, though clocks of machines differ: the newest is `main`."""
        now = datetime.now(UTC)
        if not self.versions:
            return now
        return max(now, self.versions[0].manifest.published_at + timedelta(microseconds=1))

    def tags_of(self, version: Version) -> list[str]:
        return [tag for tag, commit in self.tags.items() if commit == version.commit]

    def _only(self, revision: str, commits: list[str]) -> str | None:
        """Give the one of the commits that a tag, or a commit's first digits, mean; None if they mean none or more."""
        digits = self.tags.get(revision, revision)
        begun = [commit for commit in commits if is_commit(digits) and commit.startswith(digits)]
        return begun[0] if len(begun) == 1 else None


def find_model(root: Path, name: str) -> Model | None:
    """Find what was published as `owner/name`; None if nothing ever was, or nothing of ours."""
    layout = Layout(root.resolve())
    if not is_model_name(name):
        return None
    versions = filter(None, (read_version(folder) for folder in layout.versions(name)))
    return Model.of(name, versions, list_tags(layout, name), list_tombstones(layout, name))


def read_version(folder: Path) -> LocalVersion | None:
    """Read what lies in a version's folder; None if that is no checkpoint, or not as it was published."""
    try:
        manifest, commit = Manifest.read(folder)
    except DamagedManifestError:
        return None
    return LocalVersion(manifest, commit, folder)
