"""Wake-ups beside the requests: none of them waits for the broker."""

import threading
import time
from contextlib import suppress
from queue import Empty, Queue
from uuid import UUID

import structlog

from jobs.queue import WakeUps

ENOUGH = 64
"""With so many messages in the queue no worker idles, and who is at work takes the next job without any."""

PAUSE_SECONDS = 0.05
"""In a burst of jobs the queue is looked at so often, and not for every job."""

log = structlog.get_logger()


class Waking:
    """Publishes wake-ups in a thread of its own, and none behind a long queue."""

    def __init__(self, wake_ups: WakeUps) -> None:
        self._wake_ups = wake_ups
        self._pending: Queue[UUID | None] = Queue()
        self._thread = threading.Thread(target=self._publish_all, name="wake-ups", daemon=True)
        self._thread.start()

    def wake(self, job_id: UUID) -> None:
        """Have a wake-up published for a job that is queued."""
        self._pending.put(job_id)

    def settle(self) -> None:
        """Wait until what was asked for is published, or cannot be."""
        self._pending.join()

    def close(self) -> None:
        """Publish what is left, and end."""
        self.settle()
        self._pending.put(None)
        self._thread.join()

    def _publish_all(self) -> None:
        while (first := self._pending.get()) is not None:
            jobs = [first, *self._more(ENOUGH - 1)]
            try:
                self._publish(jobs)
            except Exception:
                # The reconciler wakes for these; the next are to be woken for at once.
                log.exception("wake-ups not published", job_ids=list(map(str, jobs)))
            for _ in jobs:
                self._pending.task_done()
            time.sleep(PAUSE_SECONDS)

    def _more(self, limit: int) -> list[UUID]:
        jobs: list[UUID] = []
        with suppress(Empty):
            while len(jobs) < limit and (job_id := self._pending.get_nowait()) is not None:
                jobs.append(job_id)
        return jobs

    def _publish(self, jobs: list[UUID]) -> None:
        waiting = self._wake_ups.count()
        if waiting is None:
            log.warning("wake-ups not published", job_ids=list(map(str, jobs)))
        elif waiting < ENOUGH:
            for job_id in jobs:
                self._wake_ups.publish(job_id)
