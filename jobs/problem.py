"""Problem objects (RFC 9457), the one shape of every error that leaves the service."""

from http import HTTPStatus
from typing import Any

from pruning_core.errors import RecipeError

Problem = dict[str, Any]


def problem(slug: str, title: str, status: HTTPStatus, detail: str, **members: Any) -> Problem:
    return {"type": f"/problems/{slug}", "title": title, "status": int(status), "detail": detail, **members}


def recipe_problem(error: RecipeError) -> Problem:
    """Say a recipe's error: the field, the value, what is wrong and the way out."""
    return problem(
        error.slug,
        error.title,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{error.field}: {error.reason} {error.remedy}",
        errors=[field_error(error.field, error.value, error.reason, error.remedy)],
    )


def field_error(field: str, value: object, reason: str, remedy: str) -> Problem:
    return {"field": field, "value": value, "reason": reason, "remedy": remedy}
