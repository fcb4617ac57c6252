"""What is left of a version that was deleted: that it was, and by whom.

It is there before the first file goes. From then on nobody is given the version, and its job cannot publish again.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ValidationError
from pydantic.types import StringConstraints

from registry.durable import write_whole
from registry.layout import Layout

MAX_REASON = 500


class Tombstone(BaseModel):
    """A version that was deleted: which one it was, when, by which user of the machine, and why if that was said."""

    name: str
    commit: str
    job_id: str
    published_at: datetime
    deleted_at: datetime
    deleted_by: str
    reason: Annotated[str, StringConstraints(max_length=MAX_REASON)] | None

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"{self.name} at {self.commit} was deleted on {self.deleted_at:%Y-%m-%d} by {self.deleted_by}{because}"

    def write(self, layout: Layout) -> None:
        path = layout.tombstone(self.name, self.job_id)
        write_whole(path, self.model_dump_json(indent=2), layout.root)


def list_tombstones(layout: Layout, name: str) -> list[Tombstone]:
    """Tell which versions of a model were deleted, as far as their tombstones can be read."""
    found = []
    for path in layout.tombstones(name).glob("[!.]*.json"):
        try:
            found.append(Tombstone.model_validate_json(path.read_bytes()))
        except ValidationError:
            # That it is there is what counts; of this one nothing can be told.
            continue
    return found
