"""Whether a model's tokenizer can be had without running code that nobody allowed to run."""

import json
from typing import Any

from pruning_core.errors import UnreadableModelError, UntrustedCodeError
from pruning_core.model_code import TRUST_SETTING, code_of_others
from pruning_core.model_source import ModelSource
from pruning_core.subject import trust_entry

SETTINGS_FILE = "tokenizer_config.json"

OWN_TOKENIZER_REMEDY = "Put a tokenizer.json beside its weights"


def require_tokenizer(source: ModelSource) -> dict[str, Any] | None:
    """Refuse a model with code of its own whose tokenizer is such code too, or is missing.

    A `tokenizer.json` is all that is needed of any tokenizer. Without it, a class of transformers is used if the
    settings name no other.

    Returns:
        The settings of a tokenizer whose code is to run; None for any other.

    Raises:
        UntrustedCodeError: the tokenizer is code, and the operator does not allow it to run, or its own revision does
            not pin it.
        UnreadableModelError: there is no tokenizer.
    """
    own_code = source.own_code
    if own_code is None or source.tokenizer_file is not None:
        return None
    settings = _read_settings(source)
    classes = settings.get("auto_map")
    if not classes:
        return None
    elsewhere = code_of_others(classes)
    if elsewhere:
        raise UntrustedCodeError(
            "model",
            source.reference.id,
            f"its tokenizer is code of another repository, {elsewhere[0]}, which its own revision does not pin.",
            f"{OWN_TOKENIZER_REMEDY}.",
        )
    if not own_code.trusted:
        raise UntrustedCodeError(
            "model",
            source.reference.id,
            "its tokenizer is code of its own, which the operator of this service has not allowed to run.",
            f"{OWN_TOKENIZER_REMEDY}; or let the operator read that code and add "
            f"{trust_entry(source, own_code.files)} to {TRUST_SETTING}.",
        )
    return settings


def _read_settings(source: ModelSource) -> dict[str, Any]:
    file = source.small_file(SETTINGS_FILE)
    if file is None:
        raise _unreadable(source, f"it has neither tokenizer.json nor {SETTINGS_FILE}")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as broken:
        raise _unreadable(source, f"its {SETTINGS_FILE} cannot be read ({broken})") from broken
    if not isinstance(settings, dict):
        raise _unreadable(source, f"its {SETTINGS_FILE} is no object")
    return settings


def _unreadable(source: ModelSource, why: str) -> UnreadableModelError:
    return UnreadableModelError(
        "model", source.reference.id, f"{why}.", f"{OWN_TOKENIZER_REMEDY}, or name another checkpoint."
    )
