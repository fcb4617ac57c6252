"""Which object is what.

`versions/owner/name/<job>/manifest.json` is a version of a model, named by the job that published it: a job has one
place and no more. Beside it `manifest.<commit>.sha1` tells whether it is as it was published. `blobs/<sha256>` is the
content of files, `tags/owner/name/<tag>` a commit, and `deleted/owner/name/<job>.json` what is known of a version that
is gone.
"""

import re
from collections.abc import Iterable

from registry.layout import is_job
from registry.manifest import MANIFEST_NAME
from registry.names import is_model_name

VERSIONS, BLOBS, TAGS, TOMBSTONES = "versions", "blobs", "tags", "deleted"

_COMMIT = re.compile(r"manifest\.(?P<commit>[0-9a-f]{40})\.sha1")


def version(name: str, job_id: str) -> str:
    return f"{VERSIONS}/{name}/{job_id}"


def manifest(name: str, job_id: str) -> str:
    return f"{version(name, job_id)}/{MANIFEST_NAME}"


def commit(name: str, job_id: str, commit: str) -> str:
    return f"{version(name, job_id)}/manifest.{commit}.sha1"


def blob(sha256: str) -> str:
    return f"{BLOBS}/{sha256}"


def tag(name: str, tag: str) -> str:
    return f"{TAGS}/{name}/{tag}"


def tombstone(name: str, job_id: str) -> str:
    return f"{TOMBSTONES}/{name}/{job_id}.json"


def models_in(keys: Iterable[str]) -> set[str]:
    """Name the models that keys of versions or tombstones are of."""
    names = {"/".join(key.split("/")[1:3]) for key in keys}
    return set(filter(is_model_name, names))


def job_in(key: str) -> str | None:
    """Name the job that a key of a version or a tombstone is of."""
    match key.split("/"):
        case [_, _, _, place, *_] if is_job(job_id := place.removesuffix(".json")):
            return job_id
    return None


def commit_in(key: str) -> str | None:
    """Give the commit that a key tells of, if it is such a one."""
    found = _COMMIT.fullmatch(key.rsplit("/", 1)[-1])
    return found["commit"] if found else None
