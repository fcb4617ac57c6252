"""What a supervisor tells its child, and what the child tells back: JSON lines over its standard input and output."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.logs import LogFormat
from pruning_core.recipe import MemoryBudget


class Assignment(BaseModel):
    """One job for one child process. No database, no broker, no lease: the child could not touch them if it tried.

    Attributes:
        job_id: names the published checkpoint.
        claim: names the folder in which it is staged.
        attempt: which one of the job, for the log.
        log_format: of the log.
        request: the job's request as stored.
        registry_root: where the checkpoint goes.
        local_roots: folders that the request's local paths must lie under.
        trusted_remote_code: whose own code may run.
        allow_pickle: whether pickled weights may be read.
        device: where to prune.
        memory_budget: what any job may take there.
        work: where it keeps what it cannot hold in memory, and what it has done.
    """

    job_id: str
    claim: str
    attempt: int
    log_format: LogFormat
    request: dict[str, Any]
    registry_root: Path
    local_roots: list[Path]
    trusted_remote_code: list[str]
    allow_pickle: bool
    device: str
    memory_budget: MemoryBudget
    work: Path


class Work(BaseModel):
    """A share of a search as its child asks for it: `pruning_core`'s `Share` and `Conditions`, which need torch."""

    share: dict[str, Any]
    conditions: dict[str, Any]


class ShareAssignment(BaseModel):
    """One share of another worker's search for one child process; job, log, request, trust and device as above."""

    job_id: str
    log_format: LogFormat
    request: dict[str, Any]
    work: Work
    local_roots: list[Path]
    trusted_remote_code: list[str]
    allow_pickle: bool
    device: str
    memory_budget: MemoryBudget


class Collected(BaseModel):
    """The line that answers `COLLECT`: the losses of each share that was offered last, in base64, None for missing."""

    losses: list[str | None]


class Message(BaseModel):
    """One line from the child: an event of `pruning_core.events`, or one of the words below."""

    kind: str
    data: dict[str, Any]


# A job's last words.
SUCCEEDED = "succeeded"
FAILED = "failed"
# Asks for help with `works`, and, when the own share is done, for what became of it.
OFFER = "offer"
COLLECT = "collect"
# A share's last word, with its `losses` in base64.
SCORED = "scored"


def recipe_of(request: dict[str, Any]) -> dict[str, Any]:
    """The part of a job's request that is science."""
    return {key: value for key, value in request.items() if key != "destination"}
