"""Shares of a running job's search: offered by the worker that holds the job, scored by any other.

Each write of who scores is one statement, and changes nothing unless the lease that offered the share is still the
job's: a worker that comes late, twice or from an attempt that is over leaves no trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, and_, delete, exists, insert, select, update

from jobs.database import transaction
from jobs.models import Job, JobShare
from jobs.states import State
from jobs.store import journal
from jobs.store.fencing import Lease, hold


@dataclass(frozen=True, slots=True)
class Round:
    """The shares that were offered together, under the lease with this token."""

    job_id: UUID
    token: UUID
    number: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """The way to one share of a round."""

    round: Round
    share: int


@dataclass(frozen=True, slots=True)
class TakenShare:
    """A share that is ours to score: the job's request, and what was asked of us."""

    request: dict[str, Any]
    work: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShareStanding:
    """How a share stands: who took it, and whether losses may still come."""

    worker: str | None
    open: bool


def offer_round(engine: Engine, lease: Lease, number: int, works: Sequence[dict[str, Any]]) -> Round:
    """Offer the shares of a round of a running job, numbered from 0.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
    """
    rows = [
        {"job_id": lease.job_id, "round": number, "share": share, "work": work}
        for share, work in enumerate(works)
    ]
    with transaction(engine) as session:
        hold(session, lease)
        session.execute(insert(JobShare), rows)
    return Round(lease.job_id, lease.token, number)


def take_share(engine: Engine, ticket: Ticket, worker: str) -> TakenShare | None:
    """Take a share; None if it is not there to be had: taken, withdrawn, or its job let go or being cancelled."""
    statement = (
        update(JobShare)
        .where(_is(ticket), JobShare.open, JobShare.worker.is_(None), _wanted(ticket.round))
        .values(worker=worker)
        .returning(JobShare.work)
    )
    with transaction(engine) as session:
        work = session.scalars(statement).one_or_none()
        if work is None:
            return None
        request = session.scalars(select(Job.request).where(Job.id == ticket.round.job_id)).one()
        return TakenShare(request, work)


def wants_share(engine: Engine, ticket: Ticket, worker: str) -> bool:
    """Tell whether the share that `worker` took is still worth its while."""
    mine = exists().where(_is(ticket), JobShare.open, JobShare.worker == worker, _wanted(ticket.round))
    with transaction(engine) as session:
        return bool(session.scalar(select(mine)))


def give_losses(engine: Engine, ticket: Ticket, worker: str, losses: bytes) -> bool:
    """Give the losses of the share that `worker` took; False if nobody wants them any more."""
    statement = (
        update(JobShare)
        .where(_is(ticket), JobShare.open, JobShare.worker == worker, _wanted(ticket.round))
        .values(losses=losses, open=False)
        .returning(JobShare.share)
    )
    with transaction(engine) as session:
        return session.scalars(statement).one_or_none() is not None


def close_round(engine: Engine, ended: Round) -> None:
    """Note that whoever was to score a share of the round is done with it: what has no losses will have none."""
    statement = update(JobShare).where(_of(ended), JobShare.open, _wanted(ended)).values(open=False)
    with transaction(engine) as session:
        session.execute(statement)


def share_standings(engine: Engine, offered: Round) -> list[ShareStanding]:
    """How the shares of a round stand, in their order."""
    query = select(JobShare.worker, JobShare.open).where(_of(offered)).order_by(JobShare.share)
    with transaction(engine) as session:
        return [ShareStanding(worker, is_open) for worker, is_open in session.execute(query)]


def collect_round(engine: Engine, lease: Lease, offered: Round) -> list[bytes | None]:
    """End a round: withdraw its shares, and note in the journal who scored what.

    Returns:
        The losses of each share, None where nobody gave any.

    Raises:
        LeaseLost: The job is no longer this worker's; nothing was written.
    """
    with transaction(engine) as session:
        job = hold(session, lease)
        gone = delete(JobShare).where(_of(offered)).returning(JobShare)
        shares = sorted(session.scalars(gone), key=lambda share: share.share)
        told = [
            {
                "windows": [share.work["share"]["start"], share.work["share"]["end"]],
                "worker": share.worker,
                "scored": share.losses is not None,
            }
            for share in shares
        ]
        journal.append(session, job, "shared", {"round": offered.number, "shares": told})
        return [share.losses for share in shares]


def _of(offered: Round) -> ColumnElement[bool]:
    return and_(JobShare.job_id == offered.job_id, JobShare.round == offered.number)


def _is(ticket: Ticket) -> ColumnElement[bool]:
    return and_(_of(ticket.round), JobShare.share == ticket.share)


def _wanted(offered: Round) -> ColumnElement[bool]:
    """Whether the lease is still the job's, and nobody asked for a cancel."""
    return exists().where(
        Job.id == offered.job_id,
        Job.lease_token == offered.token,
        Job.state == State.RUNNING,
        Job.cancel_requested_at.is_(None),
    )
