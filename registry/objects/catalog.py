"""What is published in an object store, for those who look and for those who keep it in order."""

from registry.deleting import tombstone_of
from registry.objects import layout
from registry.objects.garbage import collect_garbage, remove_version
from registry.objects.reading import find_model, list_names
from registry.objects.store import ObjectStore
from registry.objects.verifying import ObjectVerification
from registry.reading import Model, Version


class ObjectCatalog:
    """The versions in a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def names(self) -> list[str]:
        return list_names(self._store)

    def find(self, name: str) -> Model | None:
        return find_model(self._store, name)

    def set_tag(self, name: str, tag: str, commit: str) -> None:
        self._store.write(layout.tag(name, tag), f"{commit}\n".encode())

    def remove_tag(self, name: str, tag: str) -> None:
        self._store.remove(layout.tag(name, tag))

    def delete(self, name: str, version: Version, deleted_by: str, reason: str | None) -> int:
        """Put a tombstone in a version's place; its content goes when garbage is collected, so this frees nothing."""
        content = tombstone_of(name, version, deleted_by, reason).model_dump_json(indent=2).encode()
        self._store.write(layout.tombstone(name, version.job_id), content)
        remove_version(self._store, name, version.job_id)
        return 0

    def collect_garbage(self) -> int:
        return collect_garbage(self._store)

    def verification(self) -> ObjectVerification:
        return ObjectVerification(self._store)
