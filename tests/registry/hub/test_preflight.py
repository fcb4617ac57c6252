"""What is refused before a job begins, with the field and the way out; the token is never said."""

import pytest

from registry.hub.errors import (
    HubAwayError,
    HubBranchError,
    HubError,
    HubForbiddenError,
    HubPublicError,
    HubRefusedError,
    HubTokenError,
)
from tests.hub.calls import Hub
from tests.hub.client import TOKEN
from tests.hub.repositories import Account
from tests.registry.hub.conftest import REPO, Planting, Publishing


def refusal(publishing: Publishing, kind: type[HubError], **changes: object) -> HubError:
    with pytest.raises(kind) as refused:
        publishing.begin(**changes)
    assert TOKEN not in str(refused.value)
    return refused.value


def test_it_gives_the_head_of_a_repository_that_it_made(publishing: Publishing, hub: Hub) -> None:
    head = publishing.begin(private=False)
    assert hub.repositories[REPO].branches == {"main": head}
    assert not hub.repositories[REPO].private


def test_it_gives_the_head_of_a_branch_that_was_there_and_changes_nothing(
    publishing: Publishing, hub: Hub
) -> None:
    head = hub.seed(REPO, private=True, **{"config.json": "{}"})
    assert publishing.begin() == publishing.begin() == head
    assert hub.repositories[REPO].branches == {"main": head}


def test_without_a_token(publishing: Publishing, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.hub.preflight.get_token", lambda: None)
    assert "HF_TOKEN" in refusal(publishing, HubTokenError).remedy
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_know(publishing: Publishing, hub: Hub) -> None:
    hub.accounts.clear()
    error = refusal(publishing, HubTokenError)
    assert "401, Unauthorized" in error.reason
    assert "HF_TOKEN" in error.remedy


def test_an_account_that_may_not_create_the_repository(publishing: Publishing) -> None:
    error = refusal(publishing, HubForbiddenError, repo_id="others/model")
    assert (error.field, error.value) == ("destination.repo_id", "others/model")
    assert "the worker may not create others/model: the Hub says 403" in error.reason


def test_an_account_that_may_read_and_not_write(publishing: Publishing, hub: Hub) -> None:
    hub.seed("others/model", **{"config.json": "{}"})
    error = refusal(publishing, HubForbiddenError, repo_id="others/model", private=False)
    assert "the worker may not write to others/model" in error.reason
    hub.accounts[TOKEN] = Account("worker", writes=("others",))
    assert publishing.begin(repo_id="others/model", private=False)


def test_a_name_that_the_hub_does_not_take(publishing: Publishing, plant: Planting) -> None:
    plant("POST", "/repos/create", status=400, message="This name is reserved")
    error = refusal(publishing, HubRefusedError)
    assert "400, This name is reserved" in error.reason


def test_a_private_checkpoint_is_not_put_where_everybody_reads(publishing: Publishing, hub: Hub) -> None:
    hub.seed(REPO, **{"config.json": "{}"})
    assert refusal(publishing, HubPublicError).field == "destination.private"
    assert publishing.begin(private=False)


def test_a_tag_is_no_branch(publishing: Publishing, hub: Hub) -> None:
    hub.repositories[REPO] = repository = hub.create(REPO, private=True, author="somebody")
    repository.tags["v1"] = repository.branches["main"]
    assert "is a tag" in refusal(publishing, HubBranchError, revision="v1").reason


def test_a_server_that_says_the_token_back(publishing: Publishing, plant: Planting) -> None:
    plant("GET", "/whoami-v2", status=403, message=f"{TOKEN} is blocked")
    assert "(token) is blocked" in refusal(publishing, HubForbiddenError).reason


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_for_a_while(publishing: Publishing, plant: Planting, status: int) -> None:
    for path in ("/whoami-v2", "/refs"):
        plant("GET", path, status=status)
    plant("POST", "/repos/create", status=status, headers={"Retry-After": "0"})
    assert publishing.begin()


def test_a_connection_that_is_cut(publishing: Publishing, plant: Planting) -> None:
    plant("POST", "/repos/create", cut=True)
    assert publishing.begin()


def test_a_server_that_stays_broken(publishing: Publishing, plant: Planting) -> None:
    plant("GET", "/whoami-v2", status=500, times=99)
    error = refusal(publishing, HubAwayError)
    assert "the worker could not log in" in error.reason


def test_offline_mode_is_said_at_once(
    publishing: Publishing, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(publishing, HubAwayError).remedy
    assert hub.requests == []
