"""Whether a model's tokenizer can be had without running code that nobody allowed to run."""

import json
from typing import Any

from pruning_core.errors import UnreadableModelError, UntrustedCodeError
from pruning_core.model_code import TRUST_SETTING
from pruning_core.model_source import ModelSource
from pruning_core.subject import trust_entry

SETTINGS_FILE = "tokenizer_config.json"


def require_tokenizer(source: ModelSource) -> None:
    """Refuse a model with code of its own whose tokenizer is such code too, or is missing.

    A `tokenizer.json` is all that is needed of any tokenizer. Without it, a class of transformers is used if the
    settings name no other.

    Raises:
        UntrustedCodeError: the tokenizer is code, and the operator does not allow it to run.
        UnreadableModelError: there is no tokenizer.
    """
    own_code = source.own_code
    if own_code is None or source.tokenizer_file is not None:
        return
    if not tokenizer_is_code(source) or own_code.trusted:
        return
    raise UntrustedCodeError(
        "model",
        source.reference.id,
        "its tokenizer is code of its own, which the operator of this service has not allowed to run.",
        "Put a tokenizer.json beside its weights; or let the operator read that code and add "
        f"{trust_entry(source, own_code.files)} to {TRUST_SETTING}.",
    )


def tokenizer_is_code(source: ModelSource) -> bool:
    """Tell whether the tokenizer's settings name a class that is in the model's own files.

    Raises:
        UnreadableModelError: there are no such settings.
    """
    file = source.small_file(SETTINGS_FILE)
    if file is None:
        raise _unreadable(source, f"it has neither tokenizer.json nor {SETTINGS_FILE}")
    try:
        settings: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as broken:
        raise _unreadable(source, f"its {SETTINGS_FILE} cannot be read ({broken})") from broken
    if not isinstance(settings, dict):
        raise _unreadable(source, f"its {SETTINGS_FILE} is no object")
    return bool(settings.get("auto_map"))


def _unreadable(source: ModelSource, why: str) -> UnreadableModelError:
    return UnreadableModelError(
        "model", source.reference.id, f"{why}.", "Put a tokenizer.json there, or name another checkpoint."
    )
