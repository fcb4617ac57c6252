"""Submit, read, list, cancel, retry."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Response, status
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter

from api import submitting
from api.authentication import READ, Submitter
from api.dependencies import After, Database, JobId, Limit
from api.examples import JOB_REQUESTS
from api.problems import (
    ForbiddenError,
    InvalidRequestError,
    JobFinishedError,
    JobNotFoundError,
    JobNotRetryableError,
    MalformedJsonError,
    NotJsonError,
    responses,
)
from api.schemas import JobPage, JobRequest, JobSummary, JobView
from api.submitting import Queue
from jobs import store
from jobs.states import State
from pruning_core.recipe import Name

router = APIRouter(prefix="/jobs", tags=["jobs"])

_stored_request: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": JobSummary, "description": "The same request was submitted before under this key"},
        **responses(MalformedJsonError, NotJsonError, *submitting.REFUSALS),
    },
)
async def submit_job(
    request: Annotated[JobRequest, Body(openapi_examples=JOB_REQUESTS)],
    response: Response,
    queueing: Queue,
) -> JobSummary:
    """Queue a pruning job.

    Everything that can be known to be wrong is refused here: the model, its family, the cut, the texts, the
    destination. With an `Idempotency-Key`, the same request sent twice is one job.
    """
    # Of a route that is not async, FastAPI also checks the answer in a thread: one more to wait for.
    return _answer(await run_in_threadpool(queueing.queue, request), response)


@router.post(
    "/{job_id}/retry",
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": JobSummary, "description": "It was retried before under this key"},
        **responses(JobNotFoundError, JobNotRetryableError, *submitting.REFUSALS),
    },
)
def retry_job(job_id: JobId, response: Response, queueing: Queue) -> JobSummary:
    """Queue a new job with the request of one that failed or was cancelled, which stays as it is."""
    job = store.get(queueing.database, job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    if job.state not in {State.FAILED, State.CANCELLED}:
        raise JobNotRetryableError(
            f"Job {job_id} is {job.state}. Only what failed or was cancelled can be retried; submit its request for "
            "another job."
        )
    return _answer(queueing.queue(_stored_request.validate_python(job.request)), response)


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
        raise JobNotFoundError(job_id)
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
        raise JobNotFoundError(job_id)
    return JobSummary.of(job)


def _answer(submission: store.Submission, response: Response) -> JobSummary:
    response.headers["Location"] = f"/jobs/{submission.job.id}"
    if not submission.created:
        response.status_code = status.HTTP_200_OK
    return JobSummary.of(submission.job)
