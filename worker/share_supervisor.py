"""One share of another worker's search, from its taking to its losses. Never imports torch, like `worker.supervisor`.

A share is worth nothing to who cannot score it: whatever goes wrong here is logged, and the worker that offered the
share scores it itself.
"""

import time
from base64 import b64decode

import structlog

from jobs.settings import Settings
from jobs.store import TakenShare, Ticket, give_losses, take_share, wants_share
from worker.assignment import Message, ShareAssignment, Work
from worker.process import ChildProcess
from worker.workplace import Workplace

log = structlog.get_logger()


def score_share(here: Workplace, ticket: Ticket) -> bool:
    """Take a share, score it in a child process and give its losses; nothing if it is not there to be had.

    Returns:
        Whether the losses were given. Nothing is raised for who could not: the chord's other shares count.
    """
    try:
        taken = take_share(here.engine, ticket, here.worker)
        if taken is None:
            return False
        assignment = _assign(ticket, taken, here.settings)
        with ChildProcess(here.fork_server, "worker.share_child", assignment) as child:
            losses = _Watch(here, ticket).wait(child)
        given = losses is not None and give_losses(here.engine, ticket, here.worker, losses)
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

    def __init__(self, here: Workplace, ticket: Ticket) -> None:
        self._here = here
        self._ticket = ticket
        self._asked_at = time.monotonic()

    def wait(self, child: ChildProcess) -> bytes | None:
        while not self._here.stopping.is_set() and self._still_wanted():
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
        if now - self._asked_at < self._here.settings.renew_seconds:
            return True
        self._asked_at = now
        return wants_share(self._here.engine, self._ticket, self._here.worker)
