"""What can go wrong with a request, one class each, and how it is said: RFC 9457 `application/problem+json`."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from api.field_errors import explain
from jobs.problem import Problem, problem, recipe_problem
from pruning_core.errors import RecipeError

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger()


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

    def __init__(self, detail: str, errors: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)

    def body(self) -> Problem:
        return problem(self.slug, self.title, self.status, self.detail, errors=self.errors)


class InvalidRequestError(ProblemError):
    slug = "invalid-request"
    title = "The request is not valid"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class InvalidRecipeError(ProblemError):
    """Documented by this class; each `RecipeError` has a slug and a title of its own."""

    slug = "invalid-recipe"
    title = "The job cannot be carried out"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class MalformedJsonError(ProblemError):
    slug = "malformed-json"
    title = "The body is not JSON"
    status = HTTPStatus.BAD_REQUEST


class BodyTooLargeError(ProblemError):
    slug = "body-too-large"
    title = "The body is too large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class JobNotFoundError(ProblemError):
    slug = "job-not-found"
    title = "There is no such job"
    status = HTTPStatus.NOT_FOUND


class JobFinishedError(ProblemError):
    slug = "job-finished"
    title = "The job has already finished"
    status = HTTPStatus.CONFLICT


class IdempotencyKeyReusedError(ProblemError):
    slug = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"
    status = HTTPStatus.CONFLICT


class DestinationNotWritableError(ProblemError):
    slug = "destination-not-writable"
    title = "The destination cannot be written to"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


def responses(*classes: type[ProblemError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that raises `classes`, for OpenAPI."""
    documented: dict[int | str, dict[str, Any]] = {}
    for each in classes:
        entry = documented.setdefault(
            int(each.status),
            {
                "description": "",
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": {}}
                },
            },
        )
        entry["description"] = "; ".join(filter(None, [entry["description"], each.title]))
        example = problem(
            each.slug, each.title, each.status, "What is wrong with this request, and the way out."
        )
        entry["content"][MEDIA_TYPE]["examples"][each.slug] = {"value": example}
    return documented


def install(app: FastAPI) -> None:
    """Let `app` answer every error with a problem."""
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(RecipeError, _answer_recipe)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)


def _answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101  Starlette calls the handler it was given for this class
    return _respond(error.body())


def _answer_recipe(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RecipeError)  # noqa: S101  as above
    return _respond(recipe_problem(error))


def _answer_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as above
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        where = found[0]["loc"][-1]
        reason = found[0]["ctx"]["error"]
        return _respond(
            MalformedJsonError(f"{reason} at character {where} of the body. Send a JSON object.").body()
        )
    errors = [explain(each) for each in found]
    detail = " ".join(f"{each['field']}: {each['reason']} {each['remedy']}" for each in errors)
    return _respond(InvalidRequestError(detail, errors).body())


def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            body = BodyTooLargeError(error.detail).body()
        case HTTPStatus.NOT_FOUND:
            detail = f"There is nothing at {request.url.path}. See /docs for what there is."
            body = problem("not-found", status.phrase, status, detail)
        case _:
            body = problem("http", status.phrase, status, error.detail)
    return _respond(body, error.headers)


def _respond(body: Problem, headers: Any = None) -> Response:
    # ASCII escapes, because a value that is told back may hold half of a surrogate pair, which UTF-8 cannot.
    content = json.dumps(body, ensure_ascii=True, allow_nan=False)
    return Response(content, status_code=body["status"], media_type=MEDIA_TYPE, headers=headers)
