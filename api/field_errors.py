"""A validation error as a person wants to hear it: the field, the value, what is wrong, the way out."""

import json
from collections.abc import Mapping
from typing import Any

from jobs.problem import Problem, field_error

_REMEDIES = {
    "missing": "Add it.",
    "extra_forbidden": "Leave it out, or see /docs for the names that are known.",
    "union_tag_invalid": "Use one of {expected_tags}.",
    "union_tag_not_found": "Add it: 'osscar' or 'depth'.",
    "literal_error": "Use {expected}.",
    "greater_than": "Use a value above {gt}.",
    "greater_than_equal": "Use {ge} or more.",
    "less_than": "Use a value below {lt}.",
    "less_than_equal": "Use {le} or less.",
    "finite_number": "Use an ordinary number.",
    "float_type": "Use a number, without quotation marks.",
    "int_type": "Use a whole number, without quotation marks.",
    "string_type": "Use a string.",
    "string_too_short": "Use at least {min_length} characters.",
    "string_too_long": "Use at most {max_length} characters.",
    "uuid_parsing": "Use the id that POST /jobs answered.",
}

# FastAPI says where a value stood (body, path, …), and pydantic which member of a union it tried.
_NOT_FIELDS = {"body", "path", "query", "header", "osscar", "depth", "ModelReference"}


def explain(error: Mapping[str, Any]) -> Problem:
    """Turn one of pydantic's errors into a field error of a problem object."""
    kind, context = error["type"], error.get("ctx", {})
    value = None if kind == "missing" else error.get("input")
    if kind.startswith("union_tag"):
        value = value.get("method") if isinstance(value, dict) else value
        path = ["method"]
    else:
        path = [str(part) for part in error["loc"] if part not in _NOT_FIELDS]
    remedy = _REMEDIES.get(kind, "See /docs for the schema.").format_map(context)
    return field_error(".".join(path) or "body", _plain(value), f"{_reason(kind, error['msg'])}.", remedy)


def _reason(kind: str, message: str) -> str:
    match kind:
        case "union_tag_invalid":
            return "there is no such method"
        case "union_tag_not_found":
            return "the method is missing"
        case "extra_forbidden":
            return "there is no such field"
        case _:
            return message[:1].lower() + message[1:]


def _plain(value: object) -> Any:
    """Make a value that JSON can say: NaN and infinities become words."""
    return json.loads(json.dumps(value, default=str), parse_constant=str)
