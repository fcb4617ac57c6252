"""What a supervisor tells its child, and what the child tells back: JSON lines over its standard input and output."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.logs import LogFormat
from pruning_core.recipe import MemoryBudget


class Assignment(BaseModel):
    """One job for one child process. No database, no broker, no lease: the child could not touch them if it tried.

    Attributes:
        job_id: whose checkpoint it is.
        claim: names the folder in which it is staged.
        checkpoint: the name under which it is published.
        attempt: which one of the job, for the log.
        log_format: of the log.
        request: the job's request as stored.
        registry_root: where a checkpoint is staged, and goes unless `registry_url` names an object store for it.
        registry_url: that object store.
        parent_commit: what the first attempt found at the head of the Hub's branch, for a checkpoint that goes there.
        local_roots: folders that the request's local paths must lie under.
        trusted_remote_code: whose own code may run.
        allow_pickle: whether pickled weights may be read.
        device: where to prune.
        memory_budget: what any job may take there.
        work: where it keeps what it cannot hold in memory, and what it has done.
    """

    job_id: str
    claim: str
    checkpoint: str
    attempt: int
    log_format: LogFormat
    request: dict[str, Any]
    registry_root: Path
    registry_url: str | None = None
    parent_commit: str | None = None
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
# What the job takes: `layer_tokens` as in `Progress`, and the `host_bytes` and `device_bytes` that it took at most.
USAGE = "usage"
# Of a checkpoint that goes to the Hub: before the job begins, the `repo_id`, the branch as `revision` and its head as
# `parent_commit`; how many of its `bytes` are there, of `total`; at last the commit as `revision`, with its `url`.
DESTINATION = "destination"
UPLOAD = "upload"
PUBLISHED = "published"
# A share's last word, with its `losses` in base64.
SCORED = "scored"


def recipe_of(request: dict[str, Any]) -> dict[str, Any]:
    """The part of a job's request that is science."""
    return {key: value for key, value in request.items() if key not in ("destination", "deadline_seconds")}
