"""How deep a request may be nested."""

from pydantic_core import PydanticCustomError

MAX_DEPTH = 8
"""A job's objects and lists are nested three deep."""


def require_shallow(value: object) -> object:
    """Refuse what is nested deeper than `MAX_DEPTH`, before anything that looks into it calls itself so often.

    Raises:
        PydanticCustomError: it is.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if any(isinstance(inner, (dict, list)) for inner in level):
        raise PydanticCustomError(
            "nested_too_deeply", "it is nested deeper than {max_depth}", {"max_depth": MAX_DEPTH}
        )
    return value
