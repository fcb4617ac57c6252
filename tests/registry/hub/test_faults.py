"""An upload through planted faults: it ends with exactly one commit, or says why not."""

import time

import pytest

from registry.hub.errors import HubAwayError, HubForbiddenError, HubRefusedError, HubTokenError
from registry.manifest import describe_files
from tests.hub.calls import Hub
from tests.registry.hub.conftest import REPO, Planting, Publishing

PUTS = "/storage/[0-9a-f]{64}"


def own_commits(hub: Hub) -> int:
    return sum(bool(commit.message) for commit in hub.repositories[REPO].history("main"))


def check(publishing: Publishing, hub: Hub) -> None:
    artifact = publishing.finish(publishing.begin())
    assert own_commits(hub) == 1
    assert artifact.files == describe_files(publishing.checkpoint)


def test_a_part_is_cut_and_another_is_answered_by_503(
    publishing: Publishing, hub: Hub, plant: Planting
) -> None:
    plant("PUT", f"{PUTS}/2$", cut=True)
    plant("PUT", f"{PUTS}$", status=503)
    check(publishing, hub)
    # Of the file in parts, only the one that was cut was sent again.
    assert hub.asked("PUT", f"{PUTS}/") == 4


def test_too_many_requests_are_waited_for_as_long_as_the_hub_says(
    publishing: Publishing, hub: Hub, plant: Planting
) -> None:
    plant("POST", "/commit/", status=429, headers={"Retry-After": "1"})
    started = time.monotonic()
    check(publishing, hub)
    assert time.monotonic() - started >= 1


def test_bytes_that_are_damaged_on_their_way_are_sent_again(
    publishing: Publishing, hub: Hub, plant: Planting
) -> None:
    plant("PUT", f"{PUTS}$", corrupt=True)
    plant("PUT", f"{PUTS}/1$", corrupt=True)
    check(publishing, hub)


def test_bytes_that_are_always_damaged_are_never_committed(
    publishing: Publishing, hub: Hub, plant: Planting
) -> None:
    plant("PUT", f"{PUTS}/1$", corrupt=True, times=99)
    with pytest.raises(HubRefusedError, match="BadDigest"):
        publishing.all()
    assert own_commits(hub) == 0


def test_a_commit_whose_answer_got_lost_is_found(publishing: Publishing, hub: Hub, plant: Planting) -> None:
    plant("POST", "/commit/", swallow=True)
    check(publishing, hub)
    assert hub.asked("POST", "/commit/") == 1


@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_commit_that_is_put_off_is_made_once(
    publishing: Publishing, hub: Hub, plant: Planting, status: int
) -> None:
    plant("POST", "/commit/", status=status)
    check(publishing, hub)


def test_an_upload_that_was_given_up_goes_on_where_it_was(
    publishing: Publishing, hub: Hub, plant: Planting
) -> None:
    parent = publishing.begin()
    plant("POST", "/commit/", status=500, times=99)
    with pytest.raises(HubAwayError):
        publishing.finish(parent)
    hub.faults.clear()
    hub.requests.clear()
    publishing.finish(parent)
    assert own_commits(hub) == 1
    assert hub.asked("PUT", ".") == 0


@pytest.mark.parametrize(("status", "kind"), [(401, HubTokenError), (403, HubForbiddenError)])
def test_a_right_that_was_taken_away_meanwhile_is_said_at_once(
    publishing: Publishing, hub: Hub, plant: Planting, status: int, kind: type[Exception]
) -> None:
    parent = publishing.begin()
    plant("POST", "/preupload/", status=status, times=99)
    with pytest.raises(kind):
        publishing.finish(parent)
    assert hub.asked("POST", "/preupload/") == 2
    assert own_commits(hub) == 0


def test_a_full_account_is_said_at_once(publishing: Publishing, hub: Hub, plant: Planting) -> None:
    plant("POST", "/objects/batch", status=402, message="Storage limit reached", times=99)
    with pytest.raises(HubRefusedError, match="402, Storage limit reached"):
        publishing.all()
    assert own_commits(hub) == 0


def test_an_answer_that_is_none_is_said(publishing: Publishing, plant: Planting) -> None:
    plant("POST", "/preupload/", status=200, message="<html>", times=99)
    with pytest.raises(HubRefusedError, match="HF_ENDPOINT"):
        publishing.begin()
