"""What can go wrong with a request, one class each, and how it is said: RFC 9457 `application/problem+json`."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from api.allowed_methods import allowed_methods
from api.field_errors import explain
from jobs.problem import Problem, problem, recipe_problem
from pruning_core import errors
from pruning_core.errors import RecipeError
from registry.tombstones import Tombstone

MEDIA_TYPE = "application/problem+json"
_REFERENCE = "#/components/schemas/{model}"


class FieldProblem(BaseModel):
    """One offending field: where it is, what it held, what is wrong, and what to send instead."""

    field: str
    value: Any = None
    reason: str
    remedy: str


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


class ProblemError(Exception):
    """A request that is refused; subclasses say what for."""

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[HTTPStatus]

    def __init__(
        self, detail: str, errors: Sequence[Problem] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers

    def body(self) -> Problem:
        return problem(self.slug, self.title, self.status, self.detail, errors=self.errors)


class InvalidRequestError(ProblemError):
    slug = "invalid-request"
    title = "The request is not valid"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class MalformedJsonError(ProblemError):
    slug = "malformed-json"
    title = "The body is not JSON"
    status = HTTPStatus.BAD_REQUEST


class BodyTooLargeError(ProblemError):
    slug = "body-too-large"
    title = "The body is too large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UriTooLongError(ProblemError):
    slug = "uri-too-long"
    title = "The address is too long"
    status = HTTPStatus.REQUEST_URI_TOO_LONG


class HeadersTooLargeError(ProblemError):
    slug = "headers-too-large"
    title = "The headers are too large"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class NotJsonError(ProblemError):
    slug = "not-json"
    title = "The body is not declared to be JSON"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class UnauthorizedError(ProblemError):
    slug = "unauthorized"
    title = "An API key is needed"
    status = HTTPStatus.UNAUTHORIZED


class ForbiddenError(ProblemError):
    slug = "forbidden"
    title = "This API key may not do that"
    status = HTTPStatus.FORBIDDEN


class TooManyRequestsError(ProblemError):
    slug = "too-many-requests"
    title = "Too many requests"
    status = HTTPStatus.TOO_MANY_REQUESTS


class TooManyQueuedJobsError(ProblemError):
    slug = "too-many-queued-jobs"
    title = "Too many jobs of this API key wait"
    status = HTTPStatus.TOO_MANY_REQUESTS


class RepositoryNotFoundError(ProblemError):
    slug = "repository-not-found"
    title = "There is no such repository"
    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str, deleted: Tombstone | None) -> None:
        detail = f"Nothing is published as {name}."
        if deleted is not None:
            detail = f"{detail} {deleted}."
        super().__init__(
            f"{detail} GET /hub/api/models lists what there is.", headers=_hub_headers("RepoNotFound", detail)
        )


class RevisionNotFoundError(ProblemError):
    slug = "revision-not-found"
    title = "There is no such revision"
    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str, revision: str, newest: str, deleted: Tombstone | None) -> None:
        detail = f"{name} has no revision {revision}."
        if deleted is not None:
            detail = f"{detail} {deleted}."
        detail = f"{detail} Ask for main, which is {newest}, or for a tag or another commit."
        super().__init__(detail, headers=_hub_headers("RevisionNotFound", detail))


class EntryNotFoundError(ProblemError):
    slug = "entry-not-found"
    title = "There is no such file"
    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str, path: str, commit: str) -> None:
        super().__init__(
            f"{name} has no file {path!r}.",
            # Clients remember under the commit that it is not there.
            headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit},
        )


def _hub_headers(code: str, detail: str) -> dict[str, str]:
    """What clients of the Hub raise an error by, and show with it; a header is one line of ASCII."""
    return {"X-Error-Code": code, "X-Error-Message": detail.encode("unicode_escape").decode("ascii")}


class JobNotFoundError(ProblemError):
    slug = "job-not-found"
    title = "There is no such job"
    status = HTTPStatus.NOT_FOUND

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"There is no job {job_id}. GET /jobs lists those there are.")


class JobFinishedError(ProblemError):
    slug = "job-finished"
    title = "The job has already finished"
    status = HTTPStatus.CONFLICT


class JobNotRetryableError(ProblemError):
    slug = "job-not-retryable"
    title = "The job has not failed"
    status = HTTPStatus.CONFLICT


class IdempotencyKeyReusedError(ProblemError):
    slug = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"
    status = HTTPStatus.CONFLICT


class DestinationNotWritableError(ProblemError):
    slug = "destination-not-writable"
    title = "The destination cannot be written to"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class DatabaseUnreachableError(ProblemError):
    slug = "database-unreachable"
    title = "The database cannot be reached"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class InternalError(ProblemError):
    slug = "internal"
    title = "The service failed"
    status = HTTPStatus.INTERNAL_SERVER_ERROR


RECIPE_ERRORS: tuple[type[RecipeError], ...] = (
    errors.UnknownModelError,
    errors.UnreadableModelError,
    errors.PickledWeightsError,
    errors.UnreachableHubError,
    errors.PathNotAllowedError,
    errors.UnusablePathError,
    errors.NotCausalLanguageModelError,
    errors.UnsupportedFamilyError,
    errors.UnsupportedFormatError,
    errors.UntrustedCodeError,
    errors.NoRemoteCodeError,
    errors.CutTooSmallError,
    errors.UnclearCutError,
    errors.ContradictoryOptionsError,
    errors.UnusableLayersError,
    errors.CutTooLargeError,
    errors.UnknownDatasetError,
    errors.TextTooShortError,
    errors.TooFewTokensError,
    errors.SequenceTooLongError,
)
"""What is found wrong with a request that is well formed, before anything is loaded."""


def responses(*classes: type[ProblemError] | type[RecipeError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that raises `classes`, for OpenAPI."""
    documented: dict[int | str, dict[str, Any]] = {}
    for each in classes:
        status = each.status if issubclass(each, ProblemError) else HTTPStatus.UNPROCESSABLE_ENTITY
        entry = documented.setdefault(
            int(status),
            {
                "description": "",
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="ProblemBody")}, "examples": {}}
                },
            },
        )
        entry["description"] = "; ".join(filter(None, [entry["description"], each.title]))
        example = problem(
            each.slug, each.title, status, "What is wrong with this request, and the way out.", errors=[]
        )
        entry["content"][MEDIA_TYPE]["examples"][each.slug] = {"value": example}
    return documented


def install(app: FastAPI) -> None:
    """Let `app` answer every error that is foreseen with a problem, and describe what a problem is."""
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(RecipeError, _answer_recipe)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        described = describe()
        # FastAPI only knows the models of answers in application/json.
        _, problem_schemas = models_json_schema([(ProblemBody, "serialization")], ref_template=_REFERENCE)
        described["components"]["schemas"].update(problem_schemas["$defs"])
        return described

    # As FastAPI's documentation does.
    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of extending it


def _answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101  Starlette calls the handler it was given for this class
    return respond(error.body(), error.headers)


def _answer_recipe(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RecipeError)  # noqa: S101  as above
    return respond(recipe_problem(error))


def _answer_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as above
    found = error.errors()
    first = found[0]
    if first["type"] == "json_invalid":
        where, reason = first["loc"][-1], first["ctx"]["error"]
        return respond(MalformedJsonError(f"{reason} at character {where}. Send a JSON object.").body())
    if first["loc"] == ("body",) and first["type"] == "missing":
        return respond(MalformedJsonError("The body is empty. Send a JSON object.").body())
    if first["loc"] == ("body",) and isinstance(first["input"], bytes):
        # FastAPI does not parse it then.
        return respond(NotJsonError("Send it with the header `Content-Type: application/json`.").body())
    fields = [explain(each) for each in found]
    detail = " ".join(f"{each['field']}: {each['reason']} {each['remedy']}" for each in fields)
    return respond(InvalidRequestError(detail, fields).body())


def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    status, headers = HTTPStatus(error.status_code), error.headers
    match status:
        case HTTPStatus.BAD_REQUEST:
            # Not UTF-8, nested too deeply, numbers of thousands of digits.
            body = MalformedJsonError("The body cannot be read as JSON. Send a JSON object in UTF-8.").body()
        case HTTPStatus.UNAUTHORIZED:
            body = UnauthorizedError(
                "The Authorization header cannot be read. Send `Authorization: Bearer KEY`."
            ).body()
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            body = BodyTooLargeError(error.detail).body()
        case HTTPStatus.NOT_FOUND:
            detail = f"There is nothing at {request.url.path}. See /docs for what there is."
            body = _plain_problem(status, detail)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            body = _plain_problem(
                status, f"{request.method} does nothing at {request.url.path}. See /docs for what does."
            )
            headers = {"Allow": allowed_methods(request)}
        case _:
            body = _plain_problem(status, error.detail)
    return respond(body, headers)


def _plain_problem(status: HTTPStatus, detail: str) -> Problem:
    """A problem that says no more than its status does, which RFC 9457 calls about:blank."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "errors": [],
    }


def respond(body: Problem, headers: Any = None) -> Response:
    """Answer with a problem."""
    # ASCII escapes, because a value that is told back may hold half of a surrogate pair, which UTF-8 cannot.
    content = json.dumps(body, ensure_ascii=True, allow_nan=False)
    return Response(content, status_code=body["status"], media_type=MEDIA_TYPE, headers=headers)
