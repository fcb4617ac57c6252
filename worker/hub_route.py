"""The way of a checkpoint to the Hub."""

import shutil
from pathlib import Path
from typing import Any

import structlog

from pruning_core.pruning import forget_work
from registry.card import write_card
from registry.destination import HubDestination
from registry.durable import sync, sync_tree
from registry.hub.errors import HubError
from registry.hub.preflight import require_publishable
from registry.hub.publishing import HubPublisher
from registry.local import Artifact, GivenUpError, LocalRegistry, NameTakenError
from worker.assignment import DESTINATION, PUBLISHED, Assignment
from worker.parent import Parent
from worker.route import Pruned
from worker.upload_reports import UploadReports

PRUNED, CHECKPOINT = "pruned.json", "checkpoint"
"""In the work folder: the result of a pruning that is over, and its files."""

UNPUBLISHED = "unpublished"
"""The registry's folder for checkpoints that the Hub did not take. Nothing in it is withdrawn when their jobs fail."""

log = structlog.get_logger()


class HubRoute:
    """To the Hub, by an upload of maybe hours: the checkpoint lies in the work folder, where the next attempt looks."""

    def __init__(self, assignment: Assignment, destination: HubDestination, parent: Parent) -> None:
        self._assignment = assignment
        self._destination = destination
        self._parent = parent
        self._checkpoint = assignment.work / CHECKPOINT
        self._pruned = assignment.work / PRUNED
        self._onto = assignment.parent_commit

    def require_open(self) -> None:
        head = require_publishable(self._destination)
        if self._onto is None:
            self._onto = head
            self._tell(DESTINATION, revision=self._destination.revision, parent_commit=head)

    def recall(self) -> Pruned | None:
        if not self._pruned.exists():
            return None
        return Pruned.model_validate_json(self._pruned.read_text(encoding="utf-8"))

    def stage(self) -> Path:
        # Half of one may be there.
        shutil.rmtree(self._checkpoint, ignore_errors=True)
        self._checkpoint.mkdir(parents=True)
        return self._checkpoint

    def keep(self, pruned: Pruned) -> None:
        write_card(self._checkpoint, pruned.result)
        partial = self._pruned.with_suffix(".partial")
        partial.write_text(pruned.model_dump_json(), encoding="utf-8")
        # After a power cut a result without its files would be published.
        sync_tree(self._checkpoint)
        sync(partial)
        partial.replace(self._pruned)
        forget_work(self._assignment.work)

    def publish(self, pruned: Pruned) -> Artifact:
        assert self._onto is not None  # noqa: S101  `require_open` was before
        recipe = pruned.result.recipe
        publisher = HubPublisher(self._destination, self._assignment.job_id)
        title = f"{Path(recipe.model.id).name}, pruned by {recipe.method}"
        try:
            commit = publisher.commit(self._checkpoint, title, self._onto, UploadReports(self._parent))
            self._tell(PUBLISHED, revision=commit, url=publisher.url_of(commit))
            return publisher.describe(commit)
        except HubError as error:
            error.remedy += self._rescue()
            raise

    def _rescue(self) -> str:
        """Leave the checkpoint, which may have taken hours, in the local registry, and say so in a sentence."""
        assignment = self._assignment
        name = f"{UNPUBLISHED}/{Path(assignment.checkpoint).name}"
        registry = LocalRegistry(assignment.registry_root)
        try:
            staged = registry.stage(assignment.claim)
            staged.rmdir()
            shutil.move(self._checkpoint, staged)
            artifact = registry.publish(assignment.claim, assignment.job_id, name)
        except (OSError, NameTakenError, GivenUpError):
            log.exception("the checkpoint could not be kept")
            return ""
        return f" Meanwhile the checkpoint is in the registry: {artifact.location}."

    def _tell(self, kind: str, **facts: Any) -> None:
        self._parent.tell(kind, {"repo_id": self._destination.repo_id, **facts})
