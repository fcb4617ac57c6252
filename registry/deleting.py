"""Versions are deleted, and what a deletion or a publishing that was cut off has left."""

from datetime import UTC, datetime

from registry.local import LocalRegistry
from registry.reading import Version
from registry.tombstones import Tombstone


def tombstone_of(name: str, version: Version, deleted_by: str, reason: str | None) -> Tombstone:
    """Describe a version that is deleted now."""
    return Tombstone(
        name=name,
        commit=version.commit,
        job_id=version.job_id,
        published_at=version.manifest.published_at,
        deleted_at=datetime.now(UTC),
        deleted_by=deleted_by,
        reason=reason,
    )


def delete_version(
    registry: LocalRegistry, name: str, version: Version, deleted_by: str, reason: str | None
) -> tuple[Tombstone, int]:
    """Put a tombstone in a version's place, and give it with how many bytes that frees."""
    tombstone = tombstone_of(name, version, deleted_by, reason)
    tombstone.write(registry.layout)
    return tombstone, registry.remove(name, tombstone.job_id, aside=tombstone.job_id)


def collect_garbage(registry: LocalRegistry) -> int:
    """Remove what nobody is given any more, and give how many bytes that frees.

    Nothing goes of what is published or staged at this moment; what workers have staged in vain, they discard.
    """
    layout, freed = registry.layout, 0
    for name in layout.models():
        for folder in layout.remains(name):
            freed += registry.remove(name, folder.name, aside=folder.name)
    return freed + registry.collect_garbage()
