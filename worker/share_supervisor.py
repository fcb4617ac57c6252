"""One share of another worker's search, from its taking to its losses. Never imports torch, like `worker.supervisor`.

A share is worth nothing to who cannot score it: whatever goes wrong here is logged, and the worker that offered the
share scores it itself.
"""

import threading
import time
from base64 import b64decode

import structlog
from sqlalchemy import Engine

from jobs.settings import Settings
from jobs.store import TakenShare, Ticket, give_losses, take_share, wants_share
from worker.assignment import Message, ShareAssignment, Work
from worker.process import ChildProcess

log = structlog.get_logger()


def score_share(
    engine: Engine, settings: Settings, ticket: Ticket, worker: str, stopping: threading.Event
) -> bool:
    """Take a share, score it in a child process and give its losses; nothing if it is not there to be had.

    Args:
        engine: the job store's database.
        settings: of the worker.
        ticket: which share, under which lease.
        worker: who we are, for people.
        stopping: set when this worker shuts down; the share is then left.

    Returns:
        Whether the losses were given. Nothing is raised for who could not: the chord's other shares count.
    """
    try:
        taken = take_share(engine, ticket, worker)
        if taken is None:
            return False
        with ChildProcess("worker.share_child", _assign(ticket, taken, settings)) as child:
            losses = _Watch(engine, settings, ticket, worker, stopping).wait(child)
        given = losses is not None and give_losses(engine, ticket, worker, losses)
    except Exception:
        log.exception("share not scored", job_id=str(ticket.round.job_id))
        return False
    log.info(
        "share scored" if given else "share left",
        job_id=str(ticket.round.job_id),
        round=ticket.round.number,
        share=ticket.share,
    )
    return given


def _assign(ticket: Ticket, taken: TakenShare, settings: Settings) -> ShareAssignment:
    return ShareAssignment(
        job_id=str(ticket.round.job_id),
        log_format=settings.log_format,
        request=taken.request,
        work=Work.model_validate(taken.work),
        local_roots=list(settings.local_roots),
        trusted_remote_code=list(settings.trusted_remote_code),
        allow_pickle=settings.allow_pickle,
        device=settings.device,
        memory_budget=settings.memory_budget,
    )


class _Watch:
    """Waits for a child's losses for as long as somebody wants them."""

    def __init__(
        self, engine: Engine, settings: Settings, ticket: Ticket, worker: str, stopping: threading.Event
    ) -> None:
        self._engine, self._settings = engine, settings
        self._ticket, self._worker, self._stopping = ticket, worker, stopping
        self._asked_at = time.monotonic()

    def wait(self, child: ChildProcess) -> bytes | None:
        while not self._stopping.is_set() and self._still_wanted():
            try:
                message = child.next_message(timeout=0.25)
            except TimeoutError:
                continue
            return self._losses(child, message)
        return None

    def _losses(self, child: ChildProcess, message: Message | None) -> bytes | None:
        if message is None:
            log.warning("the share's process ended without losses", exit_code=child.wait())
            return None
        return b64decode(message.data["losses"])

    def _still_wanted(self) -> bool:
        """Ask as often as a lease is renewed: a cancel is heard here as soon as by the job's own worker."""
        now = time.monotonic()
        if now - self._asked_at < self._settings.renew_seconds:
            return True
        self._asked_at = now
        return wants_share(self._engine, self._ticket, self._worker)
