"""The way of a checkpoint to our own registry."""

from pathlib import Path

from registry.card import write_card
from registry.local import Artifact
from registry.opening import open_registry
from worker.assignment import Assignment
from worker.route import Pruned


class LocalRoute:
    """To our own registry, which takes a checkpoint by renaming its folder, or by uploading what is in it."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._registry = open_registry(assignment.registry_root, assignment.registry_url)
        self._staged: Path | None = None

    def require_open(self) -> None:
        """Nothing: the API has tried."""

    def recall(self) -> Pruned | None:
        return None

    def stage(self) -> Path:
        self._staged = self._registry.stage(self._assignment.claim)
        return self._staged

    def keep(self, pruned: Pruned) -> None:
        assert self._staged is not None  # noqa: S101  `stage` was before
        write_card(self._staged, pruned.result)

    def publish(self, pruned: Pruned) -> Artifact:  # noqa: ARG002  its files are all that counts
        assignment = self._assignment
        return self._registry.publish(assignment.claim, assignment.job_id, assignment.checkpoint)
