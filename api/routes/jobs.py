"""Submit, read, list, cancel."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response, status

from api.authentication import READ, Submitter
from api.dependencies import After, Database, JobId, Limit, ServiceSettings, Wake
from api.examples import JOB_REQUESTS
from api.problems import (
    RECIPE_ERRORS,
    BodyTooLargeError,
    DestinationNotWritableError,
    ForbiddenError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    JobFinishedError,
    JobNotFoundError,
    MalformedJsonError,
    NotJsonError,
    TooManyQueuedJobsError,
    responses,
)
from api.schemas import JobPage, JobRequest, JobSummary, JobView
from jobs import store
from jobs.models import MAX_KEY_BYTES
from jobs.problem import field_error
from jobs.settings import Settings
from jobs.states import State
from pruning_core.errors import NotEnoughMemoryError
from pruning_core.memory_refusal import require_fitting_budget
from pruning_core.preflight import Preflight
from pruning_core.recipe import Name
from registry.local import LocalRegistry, NotWritableError

router = APIRouter(prefix="/jobs", tags=["jobs"])

QUEUE_RETRY_SECONDS = 60


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": JobSummary, "description": "The same request was submitted before under this key"},
        **responses(
            MalformedJsonError,
            IdempotencyKeyReusedError,
            BodyTooLargeError,
            NotJsonError,
            InvalidRequestError,
            *RECIPE_ERRORS,
            NotEnoughMemoryError,
            DestinationNotWritableError,
            TooManyQueuedJobsError,
        ),
    },
)
def submit_job(
    request: Annotated[JobRequest, Body(openapi_examples=JOB_REQUESTS)],
    response: Response,
    caller: Submitter,
    settings: ServiceSettings,
    database: Database,
    wake: Wake,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=MAX_KEY_BYTES, pattern=r"^[\x21-\x7e]+$")
    ] = None,
) -> JobSummary:
    """Queue a pruning job.

    Everything that can be known to be wrong is refused here: the model, its family, the cut, the texts, the
    destination. With an `Idempotency-Key`, the same request sent twice is one job.
    """
    sent = request.model_dump(mode="json")
    try:
        submission = _submitted_before(database, sent, idempotency_key, caller.name)
        if submission is None:
            accepted = _accept(request, settings)
            submission = store.submit(
                database,
                accepted,
                sent=sent,
                model=request.model.id,
                method=request.method,
                ratio=accepted["ratio"],
                dataset=request.evaluation.dataset,
                idempotency_key=idempotency_key,
                submitted_by=caller.name,
                max_queued_jobs=caller.max_queued_jobs,
                max_attempts=settings.max_attempts,
            )
    except store.IdempotencyConflict as error:
        raise _key_reused(error) from error
    except store.QueueQuotaReached as error:
        raise TooManyQueuedJobsError(
            f"{caller.name} has {error.limit} jobs queued, which is as many as it may have. "
            "Wait until one of them starts, or cancel one.",
            headers={"Retry-After": str(QUEUE_RETRY_SECONDS)},
        ) from error
    job = submission.job
    if submission.created and wake.publish(job.id):
        store.mark_woken(database, job.id)
    response.headers["Location"] = f"/jobs/{job.id}"
    if not submission.created:
        response.status_code = status.HTTP_200_OK
    return JobSummary.of(job)


@router.get("", responses=responses(InvalidRequestError), dependencies=[READ])
def list_jobs(
    database: Database,
    after: After,
    state: State | None = None,
    model: Annotated[Name | None, Query()] = None,
    method: Annotated[Literal["osscar", "depth"] | None, Query()] = None,
    limit: Limit = 50,
) -> JobPage:
    """List jobs, newest first. Follow `next` to see each exactly once, whatever arrives meanwhile."""
    page = store.list_jobs(database, state=state, model=model, method=method, limit=limit, after=after)
    return JobPage(
        items=[JobSummary.of(job) for job in page.jobs], next=page.next.encode() if page.next else None
    )


@router.get("/{job_id}", responses=responses(JobNotFoundError, InvalidRequestError), dependencies=[READ])
def get_job(job_id: JobId, database: Database) -> JobView:
    """Read one job: state, stage, progress, and every perplexity measured so far."""
    job = store.get(database, job_id)
    if job is None:
        raise _not_found(job_id)
    return JobView.with_events(job, store.events(database, job_id, JobView.EVENT_KINDS))


@router.post(
    "/{job_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(JobNotFoundError, JobFinishedError, InvalidRequestError),
)
def cancel_job(job_id: JobId, caller: Submitter, database: Database) -> JobSummary:
    """Cancel a job: a queued one at once, a running one within seconds. Asking twice changes nothing.

    Whose key is not for `admin` cancels what was submitted with it.
    """
    try:
        job = store.request_cancel(database, job_id, submitted_by=caller.confined_to)
    except store.NotTheirs as error:
        raise ForbiddenError(
            f"Job {job_id} was submitted by {error.job.submitted_by}. Cancel it with that key, or with one that has "
            "the scope admin."
        ) from error
    except store.AlreadyFinished as error:
        raise JobFinishedError(
            f"Job {job_id} is {error.job.state} and stays so. There is nothing to cancel."
        ) from error
    if job is None:
        raise _not_found(job_id)
    return JobSummary.of(job)


def _submitted_before(
    database: Database, sent: dict[str, Any], key: str | None, submitted_by: str
) -> store.Submission | None:
    job = (
        store.find_submitted(database, sent, idempotency_key=key, submitted_by=submitted_by) if key else None
    )
    return store.Submission(job, created=False) if job else None


def _accept(request: JobRequest, settings: Settings) -> dict[str, Any]:
    """Check everything that can be checked now, and give the request as it is stored."""
    ready = Preflight(
        request, settings.local_roots, settings.trusted_remote_code, allow_pickle=settings.allow_pickle
    )
    require_fitting_budget(ready)
    ready.check_texts()
    try:
        LocalRegistry(settings.registry_root).require_writable()
    except NotWritableError as error:
        raise _not_writable(request, error) from error
    return ready.recipe.model_dump(mode="json")


def _not_found(job_id: JobId) -> JobNotFoundError:
    return JobNotFoundError(f"There is no job {job_id}. GET /jobs lists those there are.")


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
