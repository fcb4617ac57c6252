"""From a request to a queued job, for every route that queues one."""

from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Depends, Header, Request

from api.authentication import Caller, Submitter
from api.problems import (
    RECIPE_ERRORS,
    BodyTooLargeError,
    DestinationNotWritableError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    ProblemError,
    TooManyQueuedJobsError,
)
from api.schemas import JobRequest
from api.waking import Waking
from api.writability import Writability
from jobs import store
from jobs.database import Engine
from jobs.models import MAX_KEY_BYTES
from jobs.problem import field_error
from jobs.settings import Settings
from pruning_core.errors import NotEnoughMemoryError, RecipeError
from pruning_core.memory_refusal import require_fitting_budget
from pruning_core.preflight import Preflight
from pruning_core.recipe import DepthRecipe, OsscarRecipe
from registry.local import NotWritableError

QUEUE_RETRY_SECONDS = 60

log = structlog.get_logger()

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=MAX_KEY_BYTES, pattern=r"^[\x21-\x7e]+$"),
]
REFUSALS: tuple[type[ProblemError] | type[RecipeError], ...] = (
    IdempotencyKeyReusedError,
    BodyTooLargeError,
    InvalidRequestError,
    *RECIPE_ERRORS,
    NotEnoughMemoryError,
    DestinationNotWritableError,
    TooManyQueuedJobsError,
)
"""What `Queueing.queue` may raise."""


@dataclass(frozen=True, slots=True)
class Queueing:
    """Queues jobs for a caller."""

    caller: Caller
    settings: Settings
    database: Engine
    waking: Waking
    writability: Writability
    idempotency_key: str | None

    def queue(self, request: JobRequest) -> store.Submission:
        """Queue a job and wake a worker, or find the job that the same request with this key queued before.

        Everything that can be known to be wrong is refused here: the model, its family, the cut, the texts, the
        destination.
        """
        try:
            submission = self._submitted_before(request) or self._submit(request)
        except store.IdempotencyConflict as error:
            raise _key_reused(error) from error
        except store.QueueQuotaReached as error:
            raise _queue_full(self.caller, error) from error
        log.info("queued" if submission.created else "queued before", job_id=str(submission.job.id))
        if submission.created:
            self.waking.wake(submission.job.id)
        return submission

    def _submitted_before(self, request: JobRequest) -> store.Submission | None:
        if self.idempotency_key is None:
            return None
        job = store.find_submitted(
            self.database,
            request.model_dump(mode="json"),
            idempotency_key=self.idempotency_key,
            submitted_by=self.caller.name,
        )
        return store.Submission(job, created=False) if job else None

    def _submit(self, request: JobRequest) -> store.Submission:
        accepted = self._accept(request).model_dump(mode="json")
        return store.submit(
            self.database,
            accepted,
            sent=request.model_dump(mode="json"),
            model=request.model.id,
            method=request.method,
            ratio=accepted["ratio"],
            dataset=request.evaluation.dataset,
            idempotency_key=self.idempotency_key,
            submitted_by=self.caller.name,
            max_queued_jobs=self.caller.max_queued_jobs,
            max_attempts=self.settings.max_attempts,
            deadline_seconds=request.deadline_seconds,
        )

    def _accept(self, request: JobRequest) -> OsscarRecipe | DepthRecipe:
        """Check everything that can be checked now, and give the request as it is stored."""
        settings = self.settings
        ready = Preflight(
            request, settings.local_roots, settings.trusted_remote_code, allow_pickle=settings.allow_pickle
        )
        require_fitting_budget(ready)
        ready.check_texts()
        try:
            self.writability.require()
        except NotWritableError as error:
            raise _not_writable(request, error) from error
        return ready.recipe


# Each dependency of a dependency is looked up, resolved and cached anew for every request.
async def _queueing(request: Request, caller: Submitter, idempotency_key: IdempotencyKey = None) -> Queueing:
    parts = request.app.state
    return Queueing(caller, parts.settings, parts.engine, parts.waking, parts.writability, idempotency_key)


Queue = Annotated[Queueing, Depends(_queueing)]


def _not_writable(request: JobRequest, error: NotWritableError) -> DestinationNotWritableError:
    reason, remedy = f"{error}", "Tell the operator; SECATEUR_DATA_DIR is the folder above it."
    value = request.destination.model_dump()
    return DestinationNotWritableError(
        f"destination: {reason} {remedy}", [field_error("destination", value, reason, remedy)]
    )


def _key_reused(error: store.IdempotencyConflict) -> IdempotencyKeyReusedError:
    field, key = "Idempotency-Key", error.job.idempotency_key
    reason = f"it came before with another request, which became job {error.job.id}."
    remedy = "Send a new request with a new key, or the first request again unchanged."
    return IdempotencyKeyReusedError(f"{field}: {reason} {remedy}", [field_error(field, key, reason, remedy)])


def _queue_full(caller: Caller, error: store.QueueQuotaReached) -> TooManyQueuedJobsError:
    return TooManyQueuedJobsError(
        f"{caller.name} has {error.limit} jobs queued, which is as many as it may have. "
        "Wait until one of them starts, or cancel one.",
        headers={"Retry-After": str(QUEUE_RETRY_SECONDS)},
    )
