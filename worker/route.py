"""From a pruning to its destination, as the child goes there.

What differs between destinations: what is checked before a job begins, where its checkpoint is written, and what an
attempt that was cut off leaves to the next.
"""

from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from pruning_core.result import PruneResult
from registry.local import Artifact
from worker.assignment import Message


class Pruned(BaseModel):
    """A pruning that is over: its result, and what was told on the way."""

    result: PruneResult
    told: list[Message]


class Route(Protocol):
    """The way of one job's checkpoint."""

    def require_open(self) -> None:
        """Check that the checkpoint could be published.

        Raises:
            RecipeError: it could not.
        """

    def recall(self) -> Pruned | None:
        """Give what an earlier attempt pruned and did not come to publish, if that is here."""

    def stage(self) -> Path:
        """Give an empty folder for the checkpoint."""

    def keep(self, pruned: Pruned) -> None:
        """Complete what was staged, and keep it for a later attempt where publishing takes long."""

    def publish(self, pruned: Pruned) -> Artifact:
        """Publish what is kept."""
