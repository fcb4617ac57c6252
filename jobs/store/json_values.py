"""What a JSONB column can hold of what a worker says."""

import math
import re
from typing import Any

_UNSTORABLE_CHARACTERS = re.compile("[\x00\ud800-\udfff]")


def storable(value: Any) -> Any:
    """Copy a JSON value, with null for NaN and infinities and U+FFFD for what text in Postgres cannot hold.

    JSON has no NaN, and Postgres refuses Python's spelling of it: one diverged layer, or one odd byte in an
    exception's message, would otherwise keep the whole report out of the database.
    """
    match value:
        case dict():
            return {key: storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case str():
            return _UNSTORABLE_CHARACTERS.sub("\ufffd", value)
        case _:
            return value
