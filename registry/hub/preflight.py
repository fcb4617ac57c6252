"""What can be known to be wrong with a place on the Hub, asked before hours of work instead of behind them."""

from functools import partial
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from registry.destination import HubDestination
from registry.hub.errors import HubBranchError, HubPublicError, no_token
from registry.hub.patience import patiently

NOT_FOUND: Final = 404


def require_publishable(destination: HubDestination) -> str:
    """Check that a checkpoint can be committed there; create the repository and the branch if they are not there.

    Creating them is the one test of whether the worker may.

    Returns:
        The commit that the branch is at.

    Raises:
        HubError: what is wrong, or that the Hub does not answer.
    """
    if get_token() is None:
        raise no_token()
    api, repo_id = HfApi(), destination.repo_id
    ask = partial(patiently, destination)
    ask("log in", api.whoami)
    ask(f"create {repo_id}", lambda: api.create_repo(repo_id, private=destination.private, exist_ok=True))
    info = ask(f"read {repo_id}", lambda: api.model_info(repo_id))
    if destination.private and not info.private:
        raise HubPublicError(
            "destination.private",
            True,
            f"{repo_id} is there, and everybody can read it.",
            "Send private: false if they may read this checkpoint, or make the repository private, or name another.",
        )
    head = _head(api, destination)
    # The Hub tells where a file would go only to those who may write; one that is empty is not sent at all.
    nothing = CommitOperationAdd(".secateur", b"")
    ask(
        f"write to {repo_id}",
        lambda: api.preupload_lfs_files(repo_id, [nothing], revision=destination.revision),
    )
    return head


def _head(api: HfApi, destination: HubDestination) -> str:
    repo_id, branch = destination.repo_id, destination.revision

    def read() -> str | None:
        refs = api.list_repo_refs(repo_id)
        if any(tag.name == branch for tag in refs.tags):
            raise HubBranchError(
                "destination.revision",
                branch,
                f"this is a tag of {repo_id}, which nothing can be committed to.",
                "Name a branch.",
            )
        return next((head.target_commit for head in refs.branches if head.name == branch), None)

    def create() -> None:
        try:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        except HfHubHTTPError as error:
            if error.response.status_code != NOT_FOUND:
                raise
            raise HubBranchError(
                "destination.revision",
                branch,
                f"{repo_id} has no such branch, and no main to begin it at.",
                "Make a first commit to the repository, or name another.",
            ) from error

    found = patiently(destination, f"read the branches of {repo_id}", read)
    if found is None:
        patiently(destination, f"create the branch {branch} of {repo_id}", create)
        found = patiently(destination, f"read the branches of {repo_id}", read)
    if found is None:
        raise HubBranchError(
            "destination.revision",
            branch,
            f"{repo_id} does not list it, though it was created.",
            "Name another branch.",
        )
    return found
