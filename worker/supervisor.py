"""One job, from claim to final state. Never imports torch: that is the child's business.

Every write carries the lease, and is refused by the database once somebody else has the job. A database that is away
does not end the job: events wait, and the child goes on until the lease would have expired.
"""

import shutil
import signal
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from jobs.problem import Problem, problem
from jobs.queue import ShareMessages
from jobs.settings import Settings
from jobs.store import Event, Lease, LeaseLost, cancelled, claim, fail, hand_back, record, renew, succeed
from registry.local import LocalRegistry
from worker.assignment import COLLECT, FAILED, OFFER, SUCCEEDED, Assignment, Collected, Message
from worker.claim_folders import discard_earlier_claims, name_of, sweep_claims, take_work_folder
from worker.process import ChildProcess
from worker.shared_search import SharedSearch

FLUSH_EVERY_SECONDS = 1.0
HANDED_BACK = "handed back"

log = structlog.get_logger()


def run_job(  # noqa: PLR0917  who, what and where
    engine: Engine,
    settings: Settings,
    job_id: UUID,
    worker: str,
    stopping: threading.Event,
    messages: ShareMessages,
) -> None:
    """Claim a job, run it in a child process and bring it to its end; nothing if it is not there to be had.

    Args:
        engine: the job store's database.
        settings: of the worker.
        job_id: which job.
        worker: who we are, for people.
        stopping: set when this worker shuts down; the job then goes back to the queue.
        messages: tells other workers of shares of the job's search.
    """
    registry = LocalRegistry(settings.registry_root)
    # Before there is a claim that a database which is away could cost.
    sweep_claims(engine, settings.work_root, registry)
    lease = claim(engine, job_id, worker, settings.lease_seconds)
    if lease is None:
        return
    with structlog.contextvars.bound_contextvars(job_id=str(job_id), attempt=lease.attempt):
        log.info("claimed")
        _see_through(engine, settings, lease, registry, stopping, messages)


def _see_through(  # noqa: PLR0917  the same as its caller's
    engine: Engine,
    settings: Settings,
    lease: Lease,
    registry: LocalRegistry,
    stopping: threading.Event,
    messages: ShareMessages,
) -> None:
    discard_earlier_claims(registry, lease)
    work = take_work_folder(settings.work_root, lease)
    try:
        with ChildProcess("worker.child", _assign(lease, settings, work)) as child:
            search = SharedSearch(engine, settings, lease, messages)
            outcome = _Supervision(engine, settings, lease, child, stopping, search).run()
    except LeaseLost:
        # The work folder stays: who has the job now may be on another machine, and may lose it to us again.
        registry.discard(name_of(lease))
        log.warning("lease lost")
        return
    registry.discard(name_of(lease))
    if outcome != HANDED_BACK:
        shutil.rmtree(work, ignore_errors=True)
    log.info(outcome)


def _assign(lease: Lease, settings: Settings, work: Path) -> Assignment:
    return Assignment(
        job_id=str(lease.job_id),
        claim=name_of(lease),
        attempt=lease.attempt,
        log_format=settings.log_format,
        request=lease.request,
        registry_root=settings.registry_root,
        local_roots=list(settings.local_roots),
        trusted_remote_code=list(settings.trusted_remote_code),
        allow_pickle=settings.allow_pickle,
        device=settings.device,
        memory_budget=settings.memory_budget,
        work=work,
    )


class _Supervision:
    """Reads what the child says, writes it down, keeps the lease."""

    def __init__(  # noqa: PLR0917  the same as its caller's
        self,
        engine: Engine,
        settings: Settings,
        lease: Lease,
        child: ChildProcess,
        stopping: threading.Event,
        search: SharedSearch,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._lease = lease
        self._child = child
        self._stopping = stopping
        self._search = search
        self._unwritten: deque[Event] = deque()
        self._written_at = self._renewed_at = time.monotonic()
        self._cancel_requested = False

    def run(self) -> str:
        """Supervise to the end and say how it ended.

        Raises:
            LeaseLost: the job is somebody else's now.
        """
        last_word: Message | None = None
        while True:
            try:
                message = self._child.next_message(timeout=0.25)
            except TimeoutError:
                pass
            else:
                if message is None:
                    break
                if message.kind in (SUCCEEDED, FAILED):
                    last_word = message
                else:
                    self._hear(message)
            if self._stopping.is_set() and last_word is None:
                self._child.kill()
                self._insist(lambda: hand_back(self._engine, self._lease, "the worker is shutting down"))
                return HANDED_BACK
            self._keep_up()
            if self._cancel_requested and last_word is None:
                self._child.kill()
                self._insist(lambda: cancelled(self._engine, self._lease))
                return "cancelled"
            self._hand_over()
        return self._finish(last_word)

    def _hear(self, message: Message) -> None:
        if message.kind == OFFER:
            self._search.offer(message.data["works"])
        elif message.kind == COLLECT:
            self._search.own_share_done()
        else:
            self._note(message)

    def _hand_over(self) -> None:
        """Give the child what it waits for, once that has come or will not come any more."""
        losses = self._search.collected()
        if losses is not None:
            packed = [None if each is None else b64encode(each).decode() for each in losses]
            self._child.tell(Collected(losses=packed))

    def _note(self, message: Message) -> None:
        # Of several progress reports between two writes only the last matters.
        if message.kind == "progress" and self._unwritten and self._unwritten[-1].kind == "progress":
            self._unwritten.pop()
        self._unwritten.append(Event(message.kind, message.data))

    def _keep_up(self) -> None:
        """Renew the lease and write events, when it is time.

        Raises:
            LeaseLost: the lease is gone, or the database was away for longer than it lasts.
        """
        now = time.monotonic()
        try:
            if now - self._renewed_at >= self._settings.renew_seconds:
                renewal = renew(self._engine, self._lease, self._settings.lease_seconds)
                self._cancel_requested = renewal.cancel_requested
                self._renewed_at = now
            if self._unwritten and now - self._written_at >= FLUSH_EVERY_SECONDS:
                record(self._engine, self._lease, tuple(self._unwritten))
                self._unwritten.clear()
                self._written_at = now
        except OperationalError as error:
            log.warning("the database is away", error=str(error.orig))
            self._give_up_when_expired()

    def _finish(self, last_word: Message | None) -> str:
        exit_code = self._child.wait()
        if self._unwritten:
            self._insist(lambda: record(self._engine, self._lease, tuple(self._unwritten)))
        if last_word is not None and last_word.kind == SUCCEEDED:
            facts = last_word.data
            self._insist(lambda: succeed(self._engine, self._lease, **facts))
            return "succeeded"
        error = last_word.data if last_word is not None else _explain_exit(exit_code)
        self._insist(lambda: fail(self._engine, self._lease, error))
        return "failed"

    def _insist(self, write: Callable[[], object]) -> None:
        """Do a write that must not be lost, again and again while the database is away.

        Raises:
            LeaseLost: the lease is gone, or the database was away for longer than it lasts.
        """
        while True:
            try:
                write()
            except OperationalError as error:
                log.warning("the database is away", error=str(error.orig))
                self._give_up_when_expired()
                time.sleep(1)
            else:
                return

    def _give_up_when_expired(self) -> None:
        if time.monotonic() - self._renewed_at > self._settings.lease_seconds:
            raise LeaseLost(self._lease)


def _explain_exit(exit_code: int) -> Problem:
    """Say why a child ended without a last word."""
    if exit_code == -signal.SIGKILL:
        return problem(
            "out-of-memory",
            "Out of memory",
            HTTPStatus.INSUFFICIENT_STORAGE,
            "The pruning process was killed by signal 9, which is what the system does when memory runs out. "
            "Lower calibration.samples or calibration.sequence_length, or ask for dtype bfloat16.",
        )
    how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return problem(
        "worker-crashed",
        "The pruning process crashed",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"The pruning process ended with {how} and without a word; the worker's log has more.",
    )
