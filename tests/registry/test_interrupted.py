"""A publisher that is killed leaves nothing under the final name, and the next attempt is not disturbed."""

import subprocess
import sys
from pathlib import Path

import pytest

from registry.local import LocalRegistry
from registry.manifest import MANIFEST_NAME
from tests.registry.conftest import JOB, NAME, stage

# Kills itself at the call whose number it is given, counted over everything that publishing does to the disk.
KILLED = """
import os, pathlib, signal, sys
import registry.local
from registry.local import LocalRegistry

root, job, name, fatal = sys.argv[1:]
calls = 0

def counted(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(fatal):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

os.fsync = counted(os.fsync)
for operation in ("chmod", "write_text", "mkdir", "rename", "unlink"):
    setattr(pathlib.Path, operation, counted(getattr(pathlib.Path, operation)))
registry.local.describe_files = counted(registry.local.describe_files)
LocalRegistry(pathlib.Path(root)).publish(job, job, name)
print(calls)
"""


def publish_in_a_process(registry: LocalRegistry, fatal: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, str(registry.root), JOB, NAME, str(fatal)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many steps an undisturbed publishing has."""
    registry = LocalRegistry(tmp_path_factory.mktemp("registry"))
    stage(registry)
    return int(publish_in_a_process(registry, fatal=0).stdout)


def test_whichever_step_is_the_last_the_checkpoint_is_whole_or_absent(steps: int, tmp_path: Path) -> None:
    assert steps > 8
    seen = set()
    for fatal in range(1, steps + 1):
        registry = LocalRegistry(tmp_path / str(fatal))
        stage(registry)
        assert publish_in_a_process(registry, fatal).returncode == -9
        final = registry.root / NAME
        seen.add(final.exists())
        if final.exists():
            assert (final / MANIFEST_NAME).exists()
        stage(registry, content="next attempt")
        artifact = registry.publish(JOB, JOB, NAME)
        assert {file.path for file in artifact.files} == {"config.json", "deeper/model.safetensors"}
        assert list((registry.root / ".staging").iterdir()) == []
    assert seen == {True, False}
