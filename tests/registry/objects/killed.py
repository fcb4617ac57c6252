"""Do one thing to a registry again and again, killed before its first change of the store, its second, and so on.

Each try has a place of its own below the URL, named by the change that it did not come to. The last try is undisturbed.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from registry.local import LocalRegistry
from registry.objects.catalog import ObjectCatalog
from registry.objects.registry import ObjectRegistry
from registry.objects.store import ObjectStore
from tests.registry.conftest import JOB, OTHER_JOB, stage

MODEL = "team/smaller"


def main(scene: str, url: str, folder: Path) -> None:
    for fatal in count(1):
        child = os.fork()
        if child == 0:
            store = ObjectStore.at(f"{url}/{fatal}")
            registry = ObjectRegistry(store, LocalRegistry(folder / str(fatal)))
            _publish(registry, OTHER_JOB)
            if scene == "delete":
                _publish(registry, JOB)
            _arm(store, fatal)
            if scene == "publish":
                _publish(registry, JOB)
            else:
                _delete(ObjectCatalog(store))
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


def _publish(registry: ObjectRegistry, job_id: str) -> None:
    stage(registry, job_id, content=job_id)
    registry.publish(job_id, job_id, MODEL)


def _delete(catalog: ObjectCatalog) -> None:
    model = catalog.find(MODEL)
    assert model is not None
    catalog.delete(MODEL, model.versions[0], "somebody", None)


def _arm(store: ObjectStore, fatal: int) -> None:
    changes = count(1)

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if next(changes) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args)

        return call

    for change in ("write", "create", "upload", "remove"):
        setattr(store, change, counted(getattr(store, change)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
