"""Do one thing to a registry again and again, killed at its first change of the disk, at its second, and so on.

Each try has a registry of its own, in a folder named by the change that was its last. The last try is undisturbed.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from registry.deleting import collect_garbage, delete_version
from registry.local import LocalRegistry
from registry.reading import find_model
from tests.registry.conftest import JOB, NAME, OTHER_JOB, stage

CHANGES = ("fsync", "rename", "replace", "link", "unlink", "rmdir", "mkdir", "chmod")


def nothing(_: LocalRegistry) -> None:
    pass


def publish_another(registry: LocalRegistry) -> None:
    stage(registry, OTHER_JOB)
    registry.publish(OTHER_JOB, OTHER_JOB, NAME)


def publish(registry: LocalRegistry) -> None:
    stage(registry)
    registry.publish(JOB, JOB, NAME)


def publish_two(registry: LocalRegistry) -> None:
    stage(registry, OTHER_JOB, content="of its own")
    registry.publish(OTHER_JOB, OTHER_JOB, NAME)
    publish(registry)


def delete(registry: LocalRegistry) -> None:
    model = find_model(registry.root, NAME)
    assert model is not None
    delete_version(registry, NAME, model.versions[0], "somebody", None)


def withdraw(registry: LocalRegistry) -> None:
    registry.withdraw(JOB, JOB, NAME)


def publish_two_and_lose_one(registry: LocalRegistry) -> None:
    publish_two(registry)
    shutil.rmtree(registry.layout.version(NAME, JOB))


SCENES: dict[str, tuple[Callable[[LocalRegistry], None], Callable[[LocalRegistry], Any]]] = {
    "publish": (nothing, publish),
    "publish what is shared": (publish_another, publish),
    "delete": (publish_two, delete),
    "withdraw": (publish_two, withdraw),
    "collect": (publish_two_and_lose_one, collect_garbage),
}


def main(scene: str, folder: Path) -> None:
    prepare, act = SCENES[scene]
    for fatal in count(1):
        registry = LocalRegistry(folder / str(fatal))
        prepare(registry)
        child = os.fork()
        if child == 0:
            arm(fatal)
            act(registry)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


def arm(fatal: int) -> None:
    changes = count(1)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(changes) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for change in CHANGES:
        setattr(os, change, counted(getattr(os, change)))
    Path.write_text = counted(Path.write_text)  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
