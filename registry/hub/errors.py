"""What can be wrong with a checkpoint's place on the Hub, one class each."""

from http import HTTPStatus

from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from pruning_core.errors import RecipeError
from registry.destination import HubDestination

MAX_SAID = 300
"""Characters of a server's message that are passed on."""


class HubError(RecipeError):
    """The Hub does not take the checkpoint."""


class HubTokenError(HubError):
    slug = "hub-token"
    title = "The worker has no token that the Hub accepts"


class HubForbiddenError(HubError):
    slug = "hub-forbidden"
    title = "The worker may not write to the Hub repository"


class HubPublicError(HubError):
    slug = "hub-repository-public"
    title = "The Hub repository is public"


class HubBranchError(HubError):
    slug = "hub-branch"
    title = "The Hub repository has no such branch, and cannot have it"


class HubChangedError(HubError):
    slug = "hub-repository-changed"
    title = "The Hub repository was changed meanwhile"


class HubRefusedError(HubError):
    slug = "hub-refused"
    title = "The Hub refused the checkpoint"


class HubAwayError(HubError):
    slug = "hub-away"
    title = "The Hub does not answer"


def no_token() -> HubTokenError:
    return HubTokenError(
        "destination.kind",
        "hub",
        "the worker has no Hub token.",
        "Let the operator set HF_TOKEN, for the worker, to a token that may write.",
    )


def refused(error: HfHubHTTPError, destination: HubDestination, doing: str) -> HubError:
    """Say an answer of the Hub that asking again will not change.

    Args:
        error: the answer.
        destination: where the checkpoint was to go.
        doing: what was asked, as in "the worker may not …".
    """
    status = error.response.status_code
    said = scrubbed((error.server_message or HTTPStatus(status).phrase)[:MAX_SAID].rstrip("."))
    if isinstance(error, RepositoryNotFoundError) or status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return HubForbiddenError(
            "destination.repo_id",
            destination.repo_id,
            f"the worker may not {doing}: the Hub says {status}, {said}.",
            "Name a repository of an account or organisation that the worker's token may write to, or let the operator "
            "set HF_TOKEN to a token that may write there.",
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return HubTokenError(
            "destination.kind",
            "hub",
            f"the Hub does not accept the worker's token: it says {status}, {said}.",
            "Let the operator set HF_TOKEN, for the worker, to a valid token that may write.",
        )
    return HubRefusedError(
        "destination.repo_id",
        destination.repo_id,
        f"the Hub did not let the worker {doing}: it says {status}, {said}.",
        "Do what it says, or name another repository, and send the job again.",
    )


def unusable(error: ValueError, destination: HubDestination, doing: str) -> HubRefusedError:
    """Say an answer that is not what the Hub's protocol has, or that refuses single files."""
    return HubRefusedError(
        "destination.repo_id",
        destination.repo_id,
        f"the worker could not {doing}: {scrubbed(str(error))[:MAX_SAID]}",
        "Let the operator check HF_ENDPOINT and the account's storage; then send the job again.",
    )


def away(error: Exception, destination: HubDestination, doing: str) -> HubAwayError:
    """Say that the Hub did not answer, however often it was asked."""
    return HubAwayError(
        "destination.repo_id",
        destination.repo_id,
        f"the worker could not {doing}: {scrubbed(str(error) or type(error).__name__)[:MAX_SAID]}",
        "Let the operator check the worker's network, HF_ENDPOINT and HF_HUB_OFFLINE; then send the job again.",
    )


def scrubbed(text: str) -> str:
    """A text without the worker's token, for servers and proxies that say it back."""
    token = get_token()
    return text.replace(token, "(token)") if token else text
