"""One job, from claim to final state. Never imports torch: that is the child's business.

Every write carries the lease, and is refused by the database once somebody else has the job. A database that is away
does not end the job: events wait, and the child goes on until the lease would have expired.
"""

import shutil
import signal
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError

from jobs.problem import Problem, problem
from jobs.states import Stage
from jobs.store import (
    Event,
    Lease,
    LeaseLost,
    Renewal,
    cancelled,
    claim,
    events,
    fail,
    hand_back,
    miss_deadline,
    next_claimable,
    record,
    renew,
    succeed,
)
from registry.opening import Registry, open_registry
from worker.assignment import (
    COLLECT,
    DESTINATION,
    FAILED,
    OFFER,
    PUBLISHED,
    SUCCEEDED,
    USAGE,
    Assignment,
    Collected,
    Message,
)
from worker.claim_folders import (
    checkpoint_of,
    discard_earlier_claims,
    name_of,
    sweep_claims,
    take_work_folder,
)
from worker.metrics import ClaimMetrics
from worker.process import ChildProcess
from worker.shared_search import SharedSearch
from worker.workplace import Workplace

FLUSH_EVERY_SECONDS = 1.0
TRY_AGAIN_SECONDS = 1.0
HANDED_BACK, CANCELLED = "handed back", "cancelled"
LEASE_LOST = "lease lost"

log = structlog.get_logger()


def run_jobs(here: Workplace, job_id: UUID) -> None:
    """Run a job, and then whatever else can be claimed, the oldest first: a queue needs no message for each job.

    Raises:
        ChildProcessError: no child can be started here. Jobs stay queued, for a worker that can.
    """
    following: UUID | None = job_id
    while following is not None and not here.stopping.is_set():
        run_job(here, following)
        following = next_claimable(here.engine)


def run_job(here: Workplace, job_id: UUID) -> None:
    """Claim a job, run it in a child process and bring it to its end; nothing if it is not there to be had.

    Raises:
        ChildProcessError: no child can be started here. The job stays queued, for a worker that can; if it was
            claimed by then, it is queued again when the lease expires.
    """
    # Before there is a claim, whose lease would run out while torch is imported from a slow disk.
    here.fork_server.wait_until_ready()
    registry = open_registry(here.settings.registry_root, here.settings.registry_url)
    # Before it, too: a database that is away could cost the claim.
    sweep_claims(here.engine, here.settings.work_root, registry)
    lease = claim(here.engine, job_id, here.worker, here.settings.lease_seconds)
    if lease is None:
        return
    with structlog.contextvars.bound_contextvars(job_id=str(job_id), attempt=lease.attempt):
        log.info("claimed")
        with ClaimMetrics(here.metrics, lease.request["method"]) as metrics:
            metrics.end(_see_through(here, lease, registry, metrics))


def _see_through(here: Workplace, lease: Lease, registry: Registry, metrics: ClaimMetrics) -> str:
    """Have a claimed job pruned and say how it ended, for this worker."""
    discard_earlier_claims(registry, lease)
    work = take_work_folder(here.settings.work_root, lease)
    try:
        outcome = _supervise(here, lease, _assign(here, lease, work), metrics)
    except LeaseLost:
        # The work folder stays: who has the job now may be on another machine, and may lose it to us again.
        registry.discard(name_of(lease))
        log.warning(LEASE_LOST)
        return LEASE_LOST
    if outcome in {FAILED, CANCELLED}:
        # The child may have published before the end that overtook it.
        registry.withdraw(name_of(lease), str(lease.job_id), checkpoint_of(lease.job_id, lease.request))
    registry.discard(name_of(lease))
    if outcome != HANDED_BACK:
        shutil.rmtree(work, ignore_errors=True)
    log.info(outcome)
    return outcome


def _supervise(here: Workplace, lease: Lease, assignment: Assignment, metrics: ClaimMetrics) -> str:
    with ChildProcess(here.fork_server, "worker.child", assignment) as child:
        return _Supervision(here, lease, child, metrics).run()


def _assign(here: Workplace, lease: Lease, work: Path) -> Assignment:
    settings = here.settings
    return Assignment(
        job_id=str(lease.job_id),
        claim=name_of(lease),
        checkpoint=checkpoint_of(lease.job_id, lease.request),
        attempt=lease.attempt,
        log_format=settings.log_format,
        request=lease.request,
        registry_root=settings.registry_root,
        registry_url=settings.registry_url,
        parent_commit=_parent_commit(here, lease),
        local_roots=list(settings.local_roots),
        trusted_remote_code=list(settings.trusted_remote_code),
        allow_pickle=settings.allow_pickle,
        device=settings.device,
        memory_budget=settings.memory_budget,
        work=work,
    )


def _parent_commit(here: Workplace, lease: Lease) -> str | None:
    """What the first attempt found at the head of the Hub's branch: who has committed since then was not expected."""
    if lease.request["destination"]["kind"] != "hub":
        return None
    told = events(here.engine, lease.job_id, kinds=[DESTINATION])
    return told[0].data["parent_commit"] if told else None


class _Supervision:
    """Reads what the child says, writes it down, keeps the lease."""

    def __init__(self, here: Workplace, lease: Lease, child: ChildProcess, metrics: ClaimMetrics) -> None:
        self._engine, self._settings, self._stopping = here.engine, here.settings, here.stopping
        self._lease = lease
        self._child = child
        self._metrics = metrics
        self._search = SharedSearch(here.engine, here.settings, lease, here.messages)
        self._unwritten: deque[Event] = deque()
        self._written_at = self._renewed_at = time.monotonic()
        self._away_until = 0.0
        self._renewal = Renewal(cancel_requested=False, deadline_passed=False)

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
                self._stop_child()
                self._insist(lambda: hand_back(self._engine, self._lease, "the worker is shutting down"))
                return HANDED_BACK
            self._keep_up()
            if self._renewal.cancel_requested and last_word is None:
                self._stop_child()
                self._insist(lambda: cancelled(self._engine, self._lease))
                return CANCELLED
            if self._renewal.deadline_passed and last_word is None:
                self._stop_child()
                self._insist(lambda: miss_deadline(self._engine, self._lease))
                return FAILED
            self._hand_over()
        return self._finish(last_word)

    def _hear(self, message: Message) -> None:
        if message.kind == OFFER:
            self._search.offer(message.data["works"])
        elif message.kind == COLLECT:
            self._search.own_share_done()
        elif message.kind == USAGE:
            self._metrics.use(message.data)
        else:
            if message.kind == "stage":
                self._metrics.enter(Stage(message.data["stage"]))
            self._note(message)

    def _stop_child(self) -> None:
        """Kill the child, and write down what it still said: it may have published where nothing is withdrawn.

        Raises:
            LeaseLost: the job is somebody else's now.
        """
        self._child.kill()
        while (message := self._child.next_message(timeout=0)) is not None:
            if message.kind == PUBLISHED:
                self._note(message)
        self._write_all()

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
        if now < self._away_until:
            return
        try:
            if now - self._renewed_at >= self._settings.renew_seconds:
                self._renewal = renew(self._engine, self._lease, self._settings.lease_seconds)
                self._renewed_at = now
                self._metrics.renewed()
            if self._unwritten and now - self._written_at >= FLUSH_EVERY_SECONDS:
                record(self._engine, self._lease, tuple(self._unwritten))
                self._unwritten.clear()
                self._written_at = now
        except OperationalError as error:
            log.warning("the database is away", error=str(error.orig))
            self._away_until = now + TRY_AGAIN_SECONDS
            self._give_up_when_expired()

    def _finish(self, last_word: Message | None) -> str:
        exit_code = self._child.wait()
        self._write_all()
        if last_word is not None and last_word.kind == SUCCEEDED:
            facts = last_word.data
            self._insist(lambda: succeed(self._engine, self._lease, **facts))
            return SUCCEEDED
        error = last_word.data if last_word is not None else _explain_exit(exit_code)
        self._insist(lambda: fail(self._engine, self._lease, error))
        return FAILED

    def _write_all(self) -> None:
        if self._unwritten:
            self._insist(lambda: record(self._engine, self._lease, tuple(self._unwritten)))

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
                time.sleep(TRY_AGAIN_SECONDS)
            else:
                return

    def _give_up_when_expired(self) -> None:
        if time.monotonic() - self._renewed_at > self._settings.lease_seconds:
            raise LeaseLost(self._lease)


def _explain_exit(exit_code: int | None) -> Problem:
    """Say why a child ended without a last word."""
    if exit_code == -signal.SIGKILL:
        return problem(
            "out-of-memory",
            "Out of memory",
            HTTPStatus.INSUFFICIENT_STORAGE,
            "The pruning process was killed by signal 9, which is what the system does when memory runs out. "
            "Lower calibration.samples or calibration.sequence_length, or ask for dtype bfloat16.",
        )
    if exit_code is None:
        how = "unseen, after the process that had started it,"
    else:
        how = f"with signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
    return _crashed(f"The pruning process ended {how} and without a word; the worker's log has more.")


def _crashed(detail: str) -> Problem:
    return problem("worker-crashed", "The pruning process crashed", HTTPStatus.INTERNAL_SERVER_ERROR, detail)
