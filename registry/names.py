"""Names in the registry: of models, as clients of the Hub take them, of versions, and of tags."""

import re

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

MAIN, LATEST = "main", "latest"
"""Both are the newest version."""

SHORTEST_COMMIT = 7

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_MODEL = re.compile(f"{_PART}/{_PART}")
_COMMIT = re.compile(rf"[0-9a-f]{{{SHORTEST_COMMIT},40}}")
_TAG = re.compile(_PART)


def is_model_name(name: str) -> bool:
    """Tell whether a model can have this name: `owner/name`, safe as a folder, in an address and on the Hub."""
    if not _MODEL.fullmatch(name):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def is_tag(name: str) -> bool:
    """Tell whether a version can be tagged so: what already means a version, or could, is none."""
    return bool(_TAG.fullmatch(name)) and name not in (MAIN, LATEST) and not is_commit(name)


def is_commit(revision: str) -> bool:
    """Tell whether a revision is a commit, or enough digits that one begins with."""
    return bool(_COMMIT.fullmatch(revision))
