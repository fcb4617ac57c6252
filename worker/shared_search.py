"""The rounds of a job's search that other workers score shares of, as the job's supervisor sees them through."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from jobs.queue import ShareMessages
from jobs.settings import Settings
from jobs.store import Lease, Round, collect_round, offer_round, share_standings

TAKING_SECONDS = 2.0
"""A free worker takes a share within milliseconds. Who has not taken it by then is busy, maybe for hours."""

log = structlog.get_logger()


class SharedSearch:
    """One round after the other: offered, awaited once the own share is done, collected.

    What is awaited: a share that a worker took, for twice as long as the own share lasted and `share_patience_seconds`
    more, in which that worker starts a process and loads the model; a share that nobody took, for `TAKING_SECONDS` from
    the offer. A round that Celery's chord closed is not awaited any longer. Whatever is missing then comes too late.
    """

    def __init__(self, engine: Engine, settings: Settings, lease: Lease, messages: ShareMessages) -> None:
        self._engine, self._settings = engine, settings
        self._lease, self._messages = lease, messages
        self._rounds = 0
        self._shares = 0
        self._offered: Round | None = None
        self._offered_at = 0.0
        self._deadline: float | None = None

    def offer(self, works: Sequence[dict[str, Any]]) -> None:
        """Offer shares to the other workers. Without a database or a broker nobody hears of them.

        Raises:
            LeaseLost: the job is somebody else's now.
        """
        self._rounds += 1
        self._shares = len(works)
        self._offered_at = time.monotonic()
        try:
            self._offered = offer_round(self._engine, self._lease, self._rounds, works)
        except OperationalError as error:
            log.warning("no shares offered", error=str(error.orig))
            return
        self._messages.publish(self._lease.job_id, self._lease.token, self._rounds, len(works))

    def own_share_done(self) -> None:
        """From now on the child waits for the others."""
        now = time.monotonic()
        self._deadline = now + 2 * (now - self._offered_at) + self._settings.share_patience_seconds

    def collected(self) -> list[bytes | None] | None:
        """The losses of each share that was offered, None where they are missing; nothing while there is hope.

        Raises:
            LeaseLost: the job is somebody else's now.
        """
        if self._deadline is None:
            return None
        late = time.monotonic() > self._deadline
        losses: list[bytes | None] | None = [None] * self._shares
        if self._offered is not None:
            try:
                if self._hopes(self._offered) and not late:
                    return None
                losses = collect_round(self._engine, self._lease, self._offered)
            except OperationalError as error:
                log.warning("no shares collected", error=str(error.orig))
                if not late:
                    return None
        self._offered = self._deadline = None
        return losses

    def _hopes(self, offered: Round) -> bool:
        taking = time.monotonic() - self._offered_at < TAKING_SECONDS
        return any(
            share.open and (share.worker is not None or taking)
            for share in share_standings(self._engine, offered)
        )
