"""What the API takes and gives, as pydantic models; OpenAPI is made from them."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field
from typing_extensions import TypeAliasType

from api.nesting import require_shallow
from jobs.models import Job, JobEvent
from pruning_core.recipe import DepthRecipe, OsscarRecipe
from registry.destination import Destination, LocalDestination

MAX_DEADLINE_SECONDS = 365 * 24 * 3600

Deadline = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_DEADLINE_SECONDS,
        description="A job that has not ended so many seconds after its submission has failed; null is never.",
    ),
]


class OsscarJobRequest(OsscarRecipe):
    """Width pruning: each MLP keeps its most useful channels."""

    destination: Destination = LocalDestination()
    deadline_seconds: Deadline = None


class DepthJobRequest(DepthRecipe):
    """Depth pruning: a run of decoder layers goes."""

    destination: Destination = LocalDestination()
    deadline_seconds: Deadline = None


# A type of its own, because FastAPI would else let the discriminator look into it first.
JobRequest = TypeAliasType(
    "JobRequest",
    Annotated[
        OsscarJobRequest | DepthJobRequest, Field(discriminator="method"), BeforeValidator(require_shallow)
    ],
)


class PerplexityPoint(BaseModel):
    """Perplexity of the model with its first `layer` layers pruned, on the first `windows` evaluation windows."""

    layer: int
    perplexity: float | None
    windows: int


class Candidate(BaseModel):
    """How the model without `layers` stands in the search; numbers that are not finite, or not measured, are null.

    `perplexity` is on the first `tokens` tokens of the search windows, and with the race's confidence between `low` and
    `high` on all of them, given the leader's. `healed` is the perplexity after a trial heal.
    """

    layers: list[int]
    perplexity: float | None
    low: float | None = None
    high: float | None = None
    tokens: int
    in_race: bool
    healed: float | None = None
    block_influence: float | None = None


class PerplexitySummary(BaseModel):
    """Perplexity on the evaluation text, before and after; `ratio` is after / before."""

    before: float | None
    after: float | None
    ratio: float | None
    dataset: str
    dtype: str | None


class HeldOut(BaseModel):
    """Perplexity on windows of the calibration text that did not calibrate, before and after."""

    before: float
    after: float
    windows: int


class PerplexityReport(PerplexitySummary):
    """The same, with what was measured on the way; `held_out` is null where the whole text calibrates."""

    points: list[PerplexityPoint]
    candidates: list[Candidate]
    held_out: HeldOut | None


class Upload(BaseModel):
    """How many bytes of a checkpoint that goes to the Hub are there, and of how many."""

    bytes: int
    total: int


class Parameters(BaseModel):
    """Parameters of the model, tied weights counted once."""

    before: int | None
    after: int | None
    removed_share: float | None


class JobSummary(BaseModel):
    """A job as lists show it."""

    id: UUID
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    stage: Literal["loading", "calibrating", "pruning", "evaluating", "publishing"] | None
    progress: float
    eta_seconds: int | None
    attempt: int
    submitted_by: str
    cancel_requested: bool
    created_at: datetime
    deadline_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    request: dict[str, Any]
    perplexity: PerplexitySummary
    parameters: Parameters
    cut: dict[str, Any] | None
    artifact: dict[str, Any] | None
    error: dict[str, Any] | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(**_fields(job))


class JobView(JobSummary):
    """A job, with what it has measured so far; `upload` is null before a checkpoint is on its way to the Hub."""

    EVENT_KINDS: ClassVar = ("claimed", "perplexity", "candidate", "held_out", "upload")

    perplexity: PerplexityReport
    upload: Upload | None

    @classmethod
    def with_events(cls, job: Job, events: list[JobEvent]) -> Self:
        points: list[PerplexityPoint] = []
        # By layers, because a candidate is reported again after each round, with what is known by then.
        candidates: dict[tuple[int, ...], Candidate] = {}
        held_out: HeldOut | None = None
        upload: Upload | None = None
        for event in events:
            match event.kind:
                case "claimed":
                    # A new attempt measures anew.
                    points.clear()
                    candidates.clear()
                    held_out = upload = None
                case "perplexity":
                    points.append(PerplexityPoint(**event.data))
                case "candidate":
                    candidates[tuple(event.data["layers"])] = Candidate(**event.data)
                case "held_out":
                    held_out = HeldOut(
                        before=event.data["perplexity_before"],
                        after=event.data["perplexity_after"],
                        windows=event.data["windows"],
                    )
                case "upload":
                    upload = Upload(**event.data)
        fields = _fields(job)
        measured = {"points": points, "candidates": [*candidates.values()], "held_out": held_out}
        fields["perplexity"] = {**fields["perplexity"], **measured}
        return cls(**fields, upload=upload)


class JobPage(BaseModel):
    """Jobs, newest first; `next` is the cursor of the page behind, null on the last."""

    items: list[JobSummary]
    next: str | None


class Result(BaseModel):
    """What one pruning cost. `location` is what `from_pretrained` takes, on the Hub with `revision`."""

    job_id: UUID
    model: str
    method: str
    ratio: float
    perplexity_before: float
    perplexity_after: float
    perplexity_ratio: float
    dataset: str
    dtype: str
    parameters_before: int
    parameters_after: int
    removed_share: float
    cut: dict[str, Any]
    artifact: str
    location: str
    revision: str | None
    bytes: int
    seconds: float
    finished_at: datetime

    @classmethod
    def of(cls, job: Job) -> Self:
        fields = _fields(job)
        perplexity, parameters, artifact = fields["perplexity"], fields["parameters"], fields["artifact"]
        return cls(
            job_id=job.id,
            model=job.model,
            method=job.method,
            ratio=job.ratio,
            perplexity_before=perplexity["before"],
            perplexity_after=perplexity["after"],
            perplexity_ratio=perplexity["ratio"],
            dataset=perplexity["dataset"],
            dtype=perplexity["dtype"],
            parameters_before=parameters["before"],
            parameters_after=parameters["after"],
            removed_share=parameters["removed_share"],
            cut=fields["cut"],
            artifact=artifact["name"],
            location=artifact["location"],
            revision=artifact.get("revision"),
            bytes=artifact["bytes"],
            seconds=(fields["finished_at"] - fields["started_at"]).total_seconds(),
            finished_at=fields["finished_at"],
        )


class ResultPage(BaseModel):
    """Results, newest first."""

    items: list[Result]
    next: str | None


class Readiness(BaseModel):
    """Whether jobs can be accepted, claimed and kept, and whether workers can be told at once."""

    database: Literal["ok", "unreachable", "read-only", "wrong-schema"]
    broker: Literal["ok", "unreachable"]
    detail: str | None = None


def _fields(job: Job) -> dict[str, Any]:
    before, after = job.perplexity_before, job.perplexity_after
    parameters_before, parameters_after = job.parameters_before, job.parameters_after
    return {
        "id": job.id,
        "state": job.state.value,
        "stage": job.stage.value if job.stage else None,
        "progress": job.progress,
        "eta_seconds": job.eta_seconds,
        "attempt": job.attempt,
        "submitted_by": job.submitted_by,
        "cancel_requested": job.cancel_requested_at is not None,
        "created_at": job.created_at,
        "deadline_at": job.deadline_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "request": job.request,
        "perplexity": {
            "before": before,
            "after": after,
            "ratio": after / before if before and after else None,
            "dataset": job.dataset,
            "dtype": job.dtype,
        },
        "parameters": {
            "before": parameters_before,
            "after": parameters_after,
            "removed_share": (parameters_before - parameters_after) / parameters_before
            if parameters_before and parameters_after
            else None,
        },
        "cut": job.cut,
        "artifact": job.artifact,
        "error": job.error,
    }
