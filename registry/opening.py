"""Which registry it is: the folder, or an object store with the folder as the place to stage in."""

from pathlib import Path
from typing import Protocol

from registry.catalog import Catalog, LocalCatalog
from registry.local import LocalArtifact, LocalRegistry
from registry.objects.catalog import ObjectCatalog
from registry.objects.registry import ObjectRegistry
from registry.objects.store import ObjectStore


class Registry(Protocol):
    """Where checkpoints are staged and published; see `LocalRegistry` for what each promises."""

    def require_writable(self) -> None: ...
    def claims(self) -> list[str]: ...
    def stage(self, claim: str) -> Path: ...
    def discard(self, claim: str) -> None: ...
    def withdraw(self, claim: str, job_id: str, name: str) -> None: ...
    def publish(self, claim: str, job_id: str, name: str) -> LocalArtifact: ...


def open_registry(root: Path, url: str | None) -> Registry:
    """Open a registry to publish to; what is staged lies below `root` on this machine, whatever the `url`."""
    staging = LocalRegistry(root)
    return staging if url is None else ObjectRegistry(ObjectStore.at(url), staging)


def open_catalog(root: Path, url: str | None) -> Catalog:
    """Open a registry to see what is published."""
    return LocalCatalog(root.resolve()) if url is None else ObjectCatalog(ObjectStore.at(url))
