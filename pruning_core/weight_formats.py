"""Which of a checkpoint's files hold its weights, told by their names, and whether they may be read."""

from collections.abc import Iterable
from fnmatch import fnmatch

from pruning_core.errors import PickledWeightsError, UnreadableModelError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PATTERN = "*.safetensors"

MODEL_FILES = [PATTERN, "*.json", "*.model", "*.txt", "*.jinja", "*.py"]
"""What a model consists of; of pickled files it is only the weights, and those only where there are no others."""

PICKLED_SINGLE = "pytorch_model.bin"
PICKLED_PATTERN = "pytorch_model*.bin"

PICKLE_SETTING = "SECATEUR_ALLOW_PICKLE"


def pickled_weights(files: Iterable[str]) -> list[str]:
    """Pick the pickled weights out of a checkpoint's files; none where it has safetensors as well."""
    names = list(files)
    if any(fnmatch(name, PATTERN) for name in names):
        return []
    # As `from_pretrained` prefers it to several.
    if PICKLED_SINGLE in names:
        return [PICKLED_SINGLE]
    return sorted(name for name in names if fnmatch(name, PICKLED_PATTERN))


def are_pickled(model: str, files: Iterable[str], *, allowed: bool) -> bool:
    """Tell whether a checkpoint's weights are pickled.

    Args:
        model: as the user named it.
        files: the names of its files, as far as they are known.
        allowed: whether the operator lets pickled weights be read.

    Raises:
        PickledWeightsError: they are, and may not be read.
    """
    pickled = pickled_weights(files)
    if pickled and not allowed:
        others = f" and {len(pickled) - 1} more" if len(pickled) > 1 else ""
        raise PickledWeightsError(
            "model",
            model,
            f"it has no .safetensors files, and pickled weights ({pickled[0]}{others}) are not read, because pickled "
            "files can hold code.",
            f"Save it with safetensors, or name another checkpoint; or let the operator set {PICKLE_SETTING}, and "
            "nothing but tensors is read from them.",
        )
    return bool(pickled)


def no_safetensors(model: str) -> UnreadableModelError:
    """What is wrong with a checkpoint without weights."""
    return UnreadableModelError(
        "model",
        model,
        "it has no .safetensors files.",
        "Save it with safetensors, or name another checkpoint.",
    )
