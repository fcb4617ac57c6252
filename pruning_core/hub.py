"""What is asked of the Hugging Face Hub: before a job starts small files and quick answers, then whole checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pruning_core.errors import UnknownModelError, UnreachableHubError
from pruning_core.recipe import ModelReference

TIMEOUT_SECONDS = 5

UNREACHABLE = (HTTPError, OfflineModeIsEnabled, OSError)
"""What the Hub client raises, besides answers that are a plain no, when the Hub cannot be talked to."""


@dataclass(frozen=True)
class Commit:
    """One commit of a model repository.

    Attributes:
        reference: the repository, pinned to it.
        files: the names of those that are in no folder.
    """

    reference: ModelReference
    files: tuple[str, ...]


def find_commit(reference: ModelReference) -> Commit | None:
    """Resolve a branch or tag to its commit; None when the Hub cannot be reached.

    Raises:
        UnknownModelError: the Hub says that there is no such model or revision, or that it is gated.
    """
    try:
        # Not `hf_hub_download`, which retries for half a minute before it admits that nobody answers.
        info = HfApi().model_info(reference.id, revision=reference.revision, timeout=TIMEOUT_SECONDS)
    except GatedRepoError as error:
        raise UnknownModelError(
            "model",
            reference.id,
            "this Hub repository is gated.",
            "Accept its terms on the Hub, and let the operator set the HF_TOKEN of an account that did.",
        ) from error
    except RevisionNotFoundError as error:
        raise UnknownModelError(
            "model.revision",
            reference.revision,
            "the Hub has no such revision.",
            "Name a branch, tag or commit that the repository has.",
        ) from error
    except HFValidationError as error:
        raise UnknownModelError(
            "model",
            reference.id,
            "this is neither a Hub id nor a path.",
            "Write a Hub id as owner/name, and begin a path with / or ./.",
        ) from error
    except RepositoryNotFoundError as error:
        raise UnknownModelError(
            "model",
            reference.id,
            "the Hub has no such model, or it is private.",
            "Check the id; begin a path with / or ./; for a private model, let the operator set HF_TOKEN.",
        ) from error
    except UNREACHABLE:
        return None
    files = tuple(file.rfilename for file in info.siblings or () if "/" not in file.rfilename)
    return Commit(ModelReference(id=reference.id, revision=info.sha), files)


def model_file(reference: ModelReference, filename: str, *, cached_only: bool) -> Path | None:
    """Fetch one small file of a model repository; None when the repository has no such file.

    Raises:
        UnreachableHubError: the Hub does not answer, or with `cached_only` the file is not in the local cache.
    """
    try:
        return Path(
            hf_hub_download(
                reference.id,
                filename,
                revision=reference.revision,
                etag_timeout=TIMEOUT_SECONDS,
                local_files_only=cached_only,
            )
        )
    except LocalEntryNotFoundError as error:
        raise unreachable("model", reference.id) from error
    except EntryNotFoundError:
        return None
    except UNREACHABLE as error:
        raise unreachable("model", reference.id) from error


def model_folder(reference: ModelReference, patterns: Sequence[str]) -> Path:
    """Fetch those files of a model repository whose names match, and give the folder they are in.

    Raises:
        UnreachableHubError: the Hub does not answer, and there is nothing of this revision in the local cache.
    """

    def fetch(*, cached_only: bool) -> Path:
        return Path(
            snapshot_download(
                reference.id,
                revision=reference.revision,
                allow_patterns=list(patterns),
                local_files_only=cached_only,
            )
        )

    try:
        return fetch(cached_only=False)
    except UNREACHABLE as error:
        try:
            return fetch(cached_only=True)
        except LocalEntryNotFoundError:
            raise unreachable("model", reference.id) from error


def require_dataset(field: str, name: str, repository: str) -> None:
    """Check that a dataset repository answers.

    Raises:
        UnreachableHubError: it does not.
    """
    try:
        HfApi().dataset_info(repository, timeout=TIMEOUT_SECONDS)
    except UNREACHABLE as error:
        raise unreachable(field, name) from error


def unreachable(field: str, name: str) -> UnreachableHubError:
    local = "a model's folder or GGUF file by its path" if field == "model" else "a text file, or `builtin`"
    return UnreachableHubError(
        field,
        name,
        "the Hugging Face Hub does not answer, and this is not in the local cache.",
        f"Name {local}, or let the operator check the service's network and HF_ENDPOINT.",
    )
