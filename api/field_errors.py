"""A validation error as a person wants to hear it: the field, the value, what is wrong, the way out."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from api.schemas import DepthJobRequest, OsscarJobRequest
from jobs.problem import Problem, field_error
from registry.destination import HubDestination, LocalDestination

_REQUESTS: dict[str, type[BaseModel]] = {"osscar": OsscarJobRequest, "depth": DepthJobRequest}
_DESTINATIONS: dict[str, type[BaseModel]] = {"local": LocalDestination, "hub": HubDestination}
_TAGS = {"method": " or ".join(map(repr, _REQUESTS)), "kind": " or ".join(map(repr, _DESTINATIONS))}

_SAYINGS = {
    "extra_forbidden": ("there is no such field.", "Leave it out."),
    "missing": ("this field is required.", "Add it."),
    "union_tag_not_found": ("this field is required.", "Add it: {tags}."),
    "union_tag_invalid": ("there is no such {name}.", "Use one of {expected_tags}."),
    "literal_error": ("there is no such {name}.", "Use {expected}."),
    "enum": ("there is no such {name}.", "Use {expected}."),
    "greater_than": ("this is too small.", "Use a number above {gt:.10g}."),
    "greater_than_equal": ("this is too small.", "Use {ge:.10g} or more."),
    "less_than": ("this is too large.", "Use a number below {lt:.10g}."),
    "less_than_equal": ("this is too large.", "Use {le:.10g} or less."),
    "finite_number": ("this is not a finite number.", "Use a finite number."),
    "float_type": ("this is not a number.", "Use a number, without quotation marks."),
    "int_type": ("this is not a whole number.", "Use a whole number, without quotation marks."),
    "int_from_float": ("this is not a whole number.", "Use a whole number."),
    "int_parsing": ("this is not a whole number.", "Use a whole number."),
    "int_parsing_size": ("this is too large.", "Use a smaller number."),
    "string_type": ("this is not a string.", "Use a string, in quotation marks."),
    "string_unicode": ("this holds half of a surrogate pair, which is no character.", "Leave it out."),
    "string_too_short": ("this is empty.", "Use at least {min_length} character."),
    "string_too_long": ("this is longer than {max_length} characters.", "Shorten it."),
    "string_pattern_mismatch": (
        "this holds spaces or characters beyond ASCII.",
        "Use letters, digits and punctuation, for example a UUID.",
    ),
    "control_character": ("this holds a control character.", "Leave it out."),
    "name_too_long": ("this is longer than {max_bytes} bytes.", "Use a shorter name."),
    "nested_too_deeply": (
        "this is nested deeper than {max_depth} levels.",
        "Use the fields that /docs shows.",
    ),
    "no_safetensors": (
        "safetensors are always written, and other formats beside them.",
        "Add safetensors to the list.",
    ),
    "bool_type": ("this is neither true nor false.", "Use true or false, without quotation marks."),
    "not_a_repository": (
        "this cannot be the name of a Hub repository.",
        "Write owner/name, in letters, digits, '-', '_' and '.', and at most 96 characters.",
    ),
    "not_a_model": (
        "this cannot be the name of a model in the registry.",
        "Write owner/name; each begins with a letter or a digit and has at most 96 letters, digits, '-', '_' and '.', "
        "without '--' and '..'.",
    ),
    "not_a_branch": (
        "this cannot be the name of a branch.",
        "Name a branch in letters, digits, '-', '_', '.' and '/', such as main; not a commit, and no refs/….",
    ),
    "not_a_revision": ("git has no revisions with '..' in their names.", "Name a branch, tag or commit."),
}
_NO_MODEL = (
    "this is neither a string nor an object.",
    "Use a Hub id or a path, or an object with `id` and `revision`.",
)
_NO_OBJECT = ("this is not a JSON object.", "Use an object, {{…}}, with the fields that /docs shows.")
_NO_ID = ("this is not a job id.", "Use the id that POST /jobs answered.")
_RATIO_REMEDY = "Use a number above 0 and below 1."


def explain(error: Mapping[str, Any]) -> Problem:
    """Turn one of pydantic's errors into a field error of a problem object."""
    kind, value = error["type"], error.get("input")
    method, place = _place(error["loc"])
    path = _without_kind(place)
    if kind.startswith("union_tag"):
        tag = "kind" if path else "method"
        path, value = [*path, tag], value.get(tag) if isinstance(value, dict) else None
    elif kind in {"missing", "nested_too_deeply"}:
        value = None
    field = ".".join(path) or "body"
    reason, remedy = _saying(kind, field, error["msg"])
    words = {**error.get("ctx", {}), "name": _name(path)}
    words["tags"] = _TAGS.get(words["name"])
    if kind == "extra_forbidden":
        remedy = _known_names(method, place[:-1])
    elif field == "ratio" and kind != "missing":
        # Says both bounds, whichever way the value is wrong.
        remedy = _RATIO_REMEDY
    return field_error(field, _plain(value), reason.format_map(words), remedy.format_map(words))


def _name(path: list[str]) -> str:
    """What a field's value is called: of an element of `formats`, a format."""
    *parents, last = path or ["body"]
    return parents[-1].removesuffix("s") if parents and last.isdigit() else last


def _place(location: tuple[str | int, ...]) -> tuple[str | None, list[str]]:
    """Split where pydantic found an error into the request's method and the path of the field.

    FastAPI puts first whether it was in the body, the path, …, and pydantic then which of the requests it tried.
    """
    place, *parts = [str(part) for part in location]
    match place, parts:
        case "body", [("osscar" | "depth") as method, *path]:
            return method, path
        case "header", [name]:
            return None, [name]
        case _:
            return None, parts


def _without_kind(place: list[str]) -> list[str]:
    """Leave out which of the destinations pydantic tried."""
    return [place[0], *place[2:]] if place[:1] == ["destination"] and len(place) > 1 else place


def _saying(kind: str, field: str, message: str) -> tuple[str, str]:
    if kind in {"model_attributes_type", "model_type", "dict_type"}:
        return _NO_MODEL if field == "model" else _NO_OBJECT
    if kind.startswith("uuid"):
        return _NO_ID
    # What pydantic says is not a template of ours.
    said = f"{message[:1].lower()}{message[1:]}.".replace("{", "{{").replace("}", "}}")
    return _SAYINGS.get(kind, (said, "See /docs for what is accepted."))


def _known_names(method: str | None, parents: list[str]) -> str:
    schema: Any = _REQUESTS.get(method or "")
    for parent in parents:
        schema = _DESTINATIONS.get(parent) or schema.model_fields[parent].annotation
    names = ", ".join(schema.model_fields) if schema else ""
    return f"Leave it out, or use one of: {names}." if names else "Leave it out: there are none here."


def _plain(value: object) -> Any:
    """Make a value that JSON can say: NaN and infinities become words."""
    return json.loads(json.dumps(value, default=str), parse_constant=str)
