"""What Schemathesis cannot make up: a job that is accepted. Runs inside `st`."""

import json
import os
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

ACCEPTED: dict[str, Any] = json.loads(os.environ["FUZZING_ACCEPTED"])


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Let every second valid request name a model and texts that are there; the others keep what was made up."""
    meta, body = case.meta, case.body
    valid = meta is not None and meta.generation.mode is GenerationMode.POSITIVE
    if valid and isinstance(body, dict) and "model" in body and crc32(repr(body).encode()) % 2:
        case.body = body | ACCEPTED
        # One that came before with another request would hide this one.
        case.headers.pop("Idempotency-Key", None)
