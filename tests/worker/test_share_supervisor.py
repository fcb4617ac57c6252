"""One share, on the side of who helps."""

import threading
from pathlib import Path

import psutil

from jobs import store
from jobs.store import ShareStanding, Ticket
from tests.worker.conftest import Bench, children_of, eventually
from worker.share_supervisor import score_share


def offered(bench: Bench, model: Path) -> Ticket:
    """A share of a job that somebody else runs, and computes on something else."""
    job_id = bench.submit(model, "depth")
    lease = store.claim(bench.engine, job_id, "somebody-else", 60)
    assert lease is not None
    work = {
        "share": {"cuts": [[0], [1]], "start": 0, "end": 1, "positions": 64},
        "conditions": {"windows": "another text", "arithmetic": "an abacus"},
    }
    return Ticket(store.offer_round(bench.engine, lease, 1, [work]), 0)


def score(bench: Bench, ticket: Ticket) -> bool:
    return score_share(bench.workplace, ticket)


def share_children() -> list[psutil.Process]:
    return children_of(psutil.Process(), "worker.share_child")


def test_a_worker_that_would_compute_something_else_leaves_the_share(bench: Bench, tiny_llama: Path) -> None:
    ticket = offered(bench, tiny_llama)
    assert not score(bench, ticket)
    assert store.share_standings(bench.engine, ticket.round) == [ShareStanding("test-worker", open=True)]


def test_a_share_that_is_taken_is_left_alone(bench: Bench, tiny_llama: Path) -> None:
    ticket = offered(bench, tiny_llama)
    assert store.take_share(bench.engine, ticket, "worker-3") is not None
    assert not score(bench, ticket)


def test_a_worker_that_stops_leaves_its_share_at_once(bench: Bench, tiny_llama: Path) -> None:
    ticket = offered(bench, tiny_llama)
    thread = threading.Thread(target=score, args=(bench, ticket))
    thread.start()
    eventually(share_children)
    bench.workplace.stopping.set()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert share_children() == []


def test_a_share_of_a_job_that_was_let_go_is_left_within_a_renewal(bench: Bench, tiny_llama: Path) -> None:
    ticket = offered(bench, tiny_llama)
    thread = threading.Thread(target=score, args=(bench, ticket))
    thread.start()
    eventually(share_children)
    store.request_cancel(bench.engine, ticket.round.job_id)
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert share_children() == []
