"""What transformers says that it loaded, held against what a model needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from pruning_core.errors import UnreadableModelError


def require_loaded(model: str, loaded: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """Refuse weights that were filled in at random, or that found no place.

    Args:
        model: as the user named it.
        loaded: the loading info of `from_pretrained`.
        kinds: which of its lists must be empty: missing, unexpected, mismatched.

    Raises:
        UnreadableModelError: with the first of them.
    """
    for kind in kinds:
        # With a mismatched one's name stand both shapes.
        names = sorted(key if isinstance(key, str) else key[0] for key in loaded[f"{kind}_keys"])
        if names:
            raise UnreadableModelError(
                "model",
                model,
                f"{len(names)} of its weights are {kind}, the first is {names[0]}.",
                "Repair the checkpoint, or name another.",
            )
