"""What is finished, and what happened, stays as it is: by trigger, not by good manners."""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, delete, update
from sqlalchemy.exc import IntegrityError

from jobs import store
from jobs.models import Job, JobEvent
from jobs.states import TERMINAL, State

if TYPE_CHECKING:
    from tests.jobs.conftest import Desk


def _finish(desk: "Desk", state: State) -> None:
    lease = desk.start()
    if state == State.SUCCEEDED:
        desk.succeed(lease)
    elif state == State.FAILED:
        store.fail(desk.engine, lease, {"title": "no"})
    else:
        store.request_cancel(desk.engine, lease.job_id)
        store.cancelled(desk.engine, lease)


def _refused(engine: Engine, statement: object) -> None:
    with engine.begin() as connection, pytest.raises(IntegrityError, match="never change"):
        connection.execute(statement)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_finished_job_never_changes(state: State, desk: "Desk") -> None:
    _finish(desk, state)
    before = desk.snapshot()
    _refused(desk.engine, update(Job).values(model="another"))
    _refused(desk.engine, update(Job).values(state=State.QUEUED))
    _refused(desk.engine, delete(Job))
    assert desk.snapshot() == before


def test_events_are_only_ever_added(desk: "Desk") -> None:
    desk.start()
    before = desk.snapshot()
    _refused(desk.engine, update(JobEvent).values(kind="another"))
    _refused(desk.engine, delete(JobEvent))
    assert desk.snapshot() == before


def test_an_unfinished_job_may_change(desk: "Desk") -> None:
    job = desk.submit()
    desk.alter(job.id, dataset="another")
    assert desk.job(job.id).dataset == "another"
