"""The words a job's life is told in."""

from enum import StrEnum


class State(StrEnum):
    """Where a job stands: `queued → running → succeeded | failed | cancelled`.

    A running job goes back to `queued` when its worker hands it back or is lost.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Stage(StrEnum):
    """What the worker of a running job is doing."""

    LOADING = "loading"
    CALIBRATING = "calibrating"
    PRUNING = "pruning"
    EVALUATING = "evaluating"
    PUBLISHING = "publishing"
