"""Shares of a search in the store: taken once, fenced by the lease, gone when the job is let go."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import store
from jobs.models import JobShare
from jobs.store import Lease, LeaseLost, Round, ShareStanding, Ticket

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk

WORKS = [{"share": {"start": 4, "end": 6}}, {"share": {"start": 6, "end": 7}}]


def offered(desk: "Desk", lease: Lease, number: int = 1) -> tuple[Round, Ticket, Ticket]:
    offered = store.offer_round(desk.engine, lease, number, WORKS)
    return offered, Ticket(offered, 0), Ticket(offered, 1)


def left(desk: "Desk") -> list[JobShare]:
    with Session(desk.engine) as session:
        return list(session.scalars(select(JobShare)))


def test_a_round_from_offer_to_collection(desk: "Desk") -> None:
    lease = desk.start(method="depth")
    offer, first, second = offered(desk, lease)
    taken = store.take_share(desk.engine, first, "worker-2")
    assert taken is not None
    assert (taken.work, taken.request) == (WORKS[0], lease.request)
    assert store.share_standings(desk.engine, offer) == [
        ShareStanding("worker-2", open=True),
        ShareStanding(None, open=True),
    ]
    assert store.take_share(desk.engine, second, "worker-3") is not None
    assert store.give_losses(desk.engine, first, "worker-2", b"\x00\xff")
    store.close_round(desk.engine, offer)
    assert [standing.open for standing in store.share_standings(desk.engine, offer)] == [False, False]
    assert store.collect_round(desk.engine, lease, offer) == [b"\x00\xff", None]
    (event,) = store.events(desk.engine, lease.job_id, ["shared"])
    assert event.data == {
        "round": 1,
        "shares": [
            {"windows": [4, 6], "worker": "worker-2", "scored": True},
            {"windows": [6, 7], "worker": "worker-3", "scored": False},
        ],
    }
    assert left(desk) == []


def test_one_of_many_messages_takes_a_share(desk: "Desk") -> None:
    _, first, _ = offered(desk, desk.start())
    with ThreadPoolExecutor(8) as pool:
        takes = pool.map(lambda number: store.take_share(desk.engine, first, f"worker-{number}"), range(8))
    assert sum(taken is not None for taken in takes) == 1


def test_only_who_took_a_share_may_score_it_and_only_once(desk: "Desk") -> None:
    _, first, second = offered(desk, desk.start())
    store.take_share(desk.engine, first, "worker-2")
    assert not store.give_losses(desk.engine, first, "worker-3", b"late")
    assert not store.give_losses(desk.engine, second, "worker-2", b"untaken")
    assert store.wants_share(desk.engine, first, "worker-2")
    assert not store.wants_share(desk.engine, first, "worker-3")
    assert store.give_losses(desk.engine, first, "worker-2", b"losses")
    assert not store.give_losses(desk.engine, first, "worker-2", b"again")
    assert not store.wants_share(desk.engine, first, "worker-2")


def test_a_closed_round_is_over_for_who_comes_late(desk: "Desk") -> None:
    offer, first, second = offered(desk, desk.start())
    store.take_share(desk.engine, first, "worker-2")
    store.close_round(desk.engine, offer)
    assert not store.wants_share(desk.engine, first, "worker-2")
    assert not store.give_losses(desk.engine, first, "worker-2", b"late")
    assert store.take_share(desk.engine, second, "worker-3") is None


def test_a_stale_token_changes_nothing(desk: "Desk") -> None:
    lease = desk.start()
    offered(desk, lease)
    stale = Round(lease.job_id, uuid4(), 1)
    ticket = Ticket(stale, 0)
    before = desk.snapshot()
    assert store.take_share(desk.engine, ticket, "worker-2") is None
    assert not store.wants_share(desk.engine, ticket, "worker-2")
    assert not store.give_losses(desk.engine, ticket, "worker-2", b"losses")
    store.close_round(desk.engine, stale)
    other = replace(lease, token=stale.token)
    with pytest.raises(LeaseLost):
        store.offer_round(desk.engine, other, 2, WORKS)
    with pytest.raises(LeaseLost):
        store.collect_round(desk.engine, other, stale)
    assert desk.snapshot() == before


def test_a_share_that_was_taken_under_an_earlier_lease_is_nobody_s(desk: "Desk") -> None:
    first = desk.start()
    _, ticket, _ = offered(desk, first)
    store.take_share(desk.engine, ticket, "worker-2")
    store.hand_back(desk.engine, first, "the worker is shutting down")
    second = desk.claim(first.job_id)
    # Of the same number, as every attempt counts its rounds from the beginning.
    _, again, _ = offered(desk, second)
    assert store.take_share(desk.engine, again, "worker-2") is not None
    assert not store.give_losses(desk.engine, ticket, "worker-2", b"of the first attempt")
    assert store.give_losses(desk.engine, again, "worker-2", b"of the second")


def test_shares_of_a_job_that_is_being_cancelled_are_not_wanted(desk: "Desk") -> None:
    _, first, second = offered(desk, lease := desk.start())
    store.take_share(desk.engine, first, "worker-2")
    store.request_cancel(desk.engine, lease.job_id)
    assert not store.wants_share(desk.engine, first, "worker-2")
    assert store.take_share(desk.engine, second, "worker-3") is None
    assert not store.give_losses(desk.engine, first, "worker-2", b"losses")


def _cancel(desk: "Desk", lease: Lease) -> None:
    store.request_cancel(desk.engine, lease.job_id)
    store.cancelled(desk.engine, lease)


@pytest.mark.parametrize(
    "let_go",
    [
        lambda desk, lease: desk.succeed(lease),
        lambda desk, lease: store.fail(desk.engine, lease, {"title": "no"}),
        _cancel,
        lambda desk, lease: store.hand_back(desk.engine, lease, "the worker is shutting down"),
        lambda desk, lease: (
            desk.alter(lease.job_id, lease_expires_at=desk.job(lease.job_id).created_at),
            store.reconcile(desk.engine),
        ),
    ],
    ids=["succeeded", "failed", "cancelled", "handed back", "lost"],
)
def test_shares_go_with_the_lease(desk: "Desk", let_go: Callable[["Desk", Lease], object]) -> None:
    lease, other = desk.start(), desk.start()
    offered(desk, lease)
    offered(desk, other)
    let_go(desk, lease)
    assert {share.job_id for share in left(desk)} == {other.job_id}
