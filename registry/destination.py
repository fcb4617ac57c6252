"""Where a pruned checkpoint may go."""

import re
from typing import Annotated, Any, Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from registry.names import is_model_name

# A part of what git takes: nothing that means something else to a shell, in a URL, or on the Hub.
_BRANCH = re.compile(r"(?!refs/)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def _require_repository(name: str) -> str:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise _no_repository() from error
    # The Hub would put a name without its owner under whoever the worker's token belongs to.
    if "/" not in name:
        raise _no_repository()
    return name


def _no_repository() -> PydanticCustomError:
    return PydanticCustomError("not_a_repository", "this is not the name of a Hub repository")


def _require_model(name: str) -> str:
    if not is_model_name(name):
        raise PydanticCustomError("not_a_model", "this cannot be the name of a model in the registry")
    return name


def _require_branch(name: str) -> str:
    if (
        not _BRANCH.fullmatch(name)
        or _COMMIT.fullmatch(name)
        or ".." in name
        or any(part.endswith((".lock", ".")) for part in name.split("/"))
    ):
        raise PydanticCustomError("not_a_branch", "this cannot be the name of a branch")
    return name


class LocalDestination(BaseModel):
    """Secateur's own registry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = "local"
    name: Annotated[str, AfterValidator(_require_model)] | None = Field(
        default=None,
        description="The model, owner/name, that the checkpoint becomes a new version of; by default one of its own",
    )


class HubDestination(BaseModel):
    """A model repository on the Hugging Face Hub, or on the server that the worker's HF_ENDPOINT names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["hub"]
    repo_id: Annotated[str, AfterValidator(_require_repository)] = Field(
        description="The repository, owner/name; it is created when the job starts, if it is not there"
    )
    private: bool = Field(
        default=True,
        strict=True,
        description="A new repository is private, and one that is there must be; false takes either, and makes public",
    )
    revision: Annotated[str, AfterValidator(_require_branch)] = Field(
        default="main",
        max_length=200,
        description="The branch; it is created from main, if it is not there",
    )
    overwrite: bool = Field(
        default=False,
        strict=True,
        description="Publish also on top of what others committed to the branch since the job began",
    )


Destination = Annotated[LocalDestination | HubDestination, Field(discriminator="kind")]

_destinations: TypeAdapter[LocalDestination | HubDestination] = TypeAdapter(Destination)


def parse_destination(request: dict[str, Any]) -> LocalDestination | HubDestination:
    """Read where a job's request, as it was accepted, wants the checkpoint."""
    return _destinations.validate_python(request["destination"])
