"""What a supervisor tells its child, and what the child tells back: JSON lines over its standard input and output."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel


class Assignment(BaseModel):
    """One job for one child process. No database, no broker, no lease: the child could not touch them if it tried.

    Attributes:
        job_id: names the staging folder and the published checkpoint.
        request: the job's request as stored.
        registry_root: where the checkpoint goes.
        local_roots: folders that the request's local paths must lie under.
        trusted_remote_code: whose own code may run.
        device: where to prune.
    """

    job_id: str
    request: dict[str, Any]
    registry_root: Path
    local_roots: list[Path]
    trusted_remote_code: list[str] = []
    device: str


class Message(BaseModel):
    """One line from the child: an event of `pruning_core.events`, or one of the two last words below."""

    kind: str
    data: dict[str, Any]


SUCCEEDED = "succeeded"
FAILED = "failed"
