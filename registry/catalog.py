"""What is published, for those who look and for those who keep it in order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from registry.deleting import collect_garbage, delete_version
from registry.local import LocalRegistry
from registry.reading import Model, Version, find_model
from registry.tags import remove_tag, set_tag
from registry.verifying import Finding, Verification


class Verifies(Protocol):
    """Verifies versions, and counts how many, and how many bytes it read for that."""

    versions: int
    bytes: int

    def verify(self, name: str) -> Iterator[Finding]:
        """Give what is wrong with the versions of a model."""


class Catalog(Protocol):
    """The versions in a registry, wherever it is."""

    def names(self) -> list[str]:
        """Name the models that there is, or was, a version of."""

    def find(self, name: str) -> Model | None:
        """Find what was published as `owner/name`; None if nothing ever was, or nothing of ours."""

    def set_tag(self, name: str, tag: str, commit: str) -> None:
        """Let a tag name a version, whatever it named before."""

    def remove_tag(self, name: str, tag: str) -> None:
        """Let a tag name nothing; its version stays."""

    def delete(self, name: str, version: Version, deleted_by: str, reason: str | None) -> int:
        """Put a tombstone in a version's place, and give how many bytes that frees at once."""

    def collect_garbage(self) -> int:
        """Remove what nobody is given any more, and give how many bytes that frees.

        Raises:
            DamagedManifestError: where nothing but a manifest tells what is needed, and one is damaged.
        """

    def verification(self) -> Verifies:
        """Begin to verify."""


class LocalCatalog:
    """The versions in a folder."""

    def __init__(self, root: Path) -> None:
        self._registry = LocalRegistry(root)

    def names(self) -> list[str]:
        return self._registry.layout.models()

    def find(self, name: str) -> Model | None:
        return find_model(self._registry.root, name)

    def set_tag(self, name: str, tag: str, commit: str) -> None:
        set_tag(self._registry.layout, name, tag, commit)

    def remove_tag(self, name: str, tag: str) -> None:
        remove_tag(self._registry.layout, name, tag)

    def delete(self, name: str, version: Version, deleted_by: str, reason: str | None) -> int:
        return delete_version(self._registry, name, version, deleted_by, reason)[1]

    def collect_garbage(self) -> int:
        return collect_garbage(self._registry)

    def verification(self) -> Verification:
        return Verification(self._registry.root)


def list_models(catalog: Catalog) -> Iterator[Model]:
    """Give all models that something is published of, by name."""
    for name in catalog.names():
        model = catalog.find(name)
        if model is not None and model.versions:
            yield model
