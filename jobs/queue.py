"""The Celery broker as the service uses it: a place for wake-ups that carry a job id and nothing else."""

from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from jobs.settings import Settings

JOBS_QUEUE = "jobs"
RECONCILE_QUEUE = "reconcile"
RUN_JOB = "secateur.run_job"
RECONCILE = "secateur.reconcile"
RECONCILE_EVERY_SECONDS = 10

log = structlog.get_logger()


def make_celery(settings: Settings) -> Celery:
    """Configure Celery for whoever publishes and whoever consumes.

    Postgres is the truth, so messages may be lost or doubled: tasks are acknowledged before they run, nothing has a
    result, and a worker takes no message that it cannot start at once.
    """
    app = Celery("secateur", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=JOBS_QUEUE,
        task_routes={RECONCILE: {"queue": RECONCILE_QUEUE}},
        # A publisher that waits for a broker would make a request wait; the reconciler publishes again instead.
        task_publish_retry=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 5},
        beat_schedule={
            # A reconciliation that nobody took before the next is due is worth nothing.
            RECONCILE: {
                "task": RECONCILE,
                "schedule": RECONCILE_EVERY_SECONDS,
                "options": {"expires": RECONCILE_EVERY_SECONDS},
            }
        },
    )
    return app


class WakeUps:
    """Publishes wake-ups, best effort: one that is lost is published again by the reconciler."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, job_id: UUID) -> bool:
        """Tell the workers that a job is queued; False when the broker cannot be reached."""
        try:
            self._app.send_task(RUN_JOB, args=[str(job_id)], ignore_result=True)
        except (OperationalError, OSError) as error:
            log.warning("wake-up not published", job_id=str(job_id), error=str(error))
            return False
        return True

    def reachable(self) -> bool:
        """Tell whether the broker answers."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except (OperationalError, OSError):
            return False
        return True
