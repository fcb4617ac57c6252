"""A Hub on loopback, a checkpoint to publish, and no waiting."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.destination import HubDestination
from registry.hub import patience
from registry.hub.preflight import require_publishable
from registry.hub.publishing import HubArtifact, HubPublisher
from tests.hub.calls import Hub
from tests.hub.client import TOKEN, talk_to
from tests.hub.faults import Fault
from tests.hub.repositories import Account
from tests.hub.server import run_hub

JOB = "6f1f1c0e-3c53-4f0e-9d06-5b1a2b3c4d5e"
REPO = "team/smaller"
WEIGHTS = bytes(range(256)) * 1000
Planting = Callable[..., Fault]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with run_hub(part_bytes=100_000) as hub:
        hub.accounts[TOKEN] = Account("worker", writes=("worker", "team"))
        talk_to(hub, monkeypatch)
        monkeypatch.setattr(patience, "WAITS_SECONDS", (0.01, 0.01))
        yield hub


@pytest.fixture
def plant(hub: Hub) -> Planting:
    def plant(method: str, path: str, **fault: Any) -> Fault:
        return hub.faults.plant(Fault(method, path, **fault))

    return plant


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Smaller\n")
    (folder / "model-00001-of-00002.safetensors").write_bytes(WEIGHTS)
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"the rest of the weights")
    return folder


def destination(**changes: Any) -> HubDestination:
    return HubDestination.model_validate({"kind": "hub", "repo_id": REPO, **changes})


class Publishing:
    """Publishes as a job's child does."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.progress: list[tuple[int, int]] = []

    def begin(self, **changes: Any) -> str:
        return require_publishable(destination(**changes))

    def finish(self, parent: str, job: str = JOB, **changes: Any) -> HubArtifact:
        def on_progress(done: int, total: int) -> None:
            self.progress.append((done, total))

        publisher = HubPublisher(destination(**changes), job)
        return publisher.describe(
            publisher.commit(self.checkpoint, "tiny, pruned by osscar", parent, on_progress)
        )

    def all(self, job: str = JOB, **changes: Any) -> HubArtifact:
        return self.finish(self.begin(**changes), job, **changes)


@pytest.fixture
def publishing(hub: Hub, checkpoint: Path) -> Publishing:
    return Publishing(checkpoint)
