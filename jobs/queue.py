"""The Celery broker as the service uses it: a place for wake-ups that carry ids and nothing else."""

from uuid import UUID

import structlog
from celery import Celery, chord
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.settings import Settings

JOBS_QUEUE = "jobs"
RECONCILE_QUEUE = "reconcile"
RUN_JOB = "secateur.run_job"
SCORE_SHARE = "secateur.score_share"
CLOSE_ROUND = "secateur.close_round"
RECONCILE = "secateur.reconcile"
RECONCILE_EVERY_SECONDS = 10
CHORD_EXPIRES_SECONDS = 3600

log = structlog.get_logger()


def make_celery(settings: Settings) -> Celery:
    """Configure Celery for whoever publishes and whoever consumes.

    Postgres is the truth, so messages may be lost or doubled: tasks are acknowledged before they run, no result is
    kept, and a worker takes no message that it cannot start at once. The result backend only counts how many tasks of a
    chord are done.
    """
    app = Celery("secateur", broker=settings.redis_url, backend=settings.redis_url, set_as_current=False)
    app.loader.override_backends = dict.fromkeys(["redis", "rediss"], "jobs.chords:ChordBackend")
    app.conf.update(
        task_ignore_result=True,
        result_expires=CHORD_EXPIRES_SECONDS,
        # Who shares out a search goes on alone rather than wait for the backend.
        result_backend_transport_options={"retry_policy": {"max_retries": 0}},
        redis_socket_connect_timeout=2,
        redis_socket_timeout=5,
        task_default_queue=JOBS_QUEUE,
        # On a queue whose worker prunes nothing: a round that waits for a worker that waits for a round never ends.
        task_routes={RECONCILE: {"queue": RECONCILE_QUEUE}, CLOSE_ROUND: {"queue": RECONCILE_QUEUE}},
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

    def count(self) -> int | None:
        """Count the messages that no worker has taken yet; None when the broker cannot be reached."""
        try:
            with self._app.producer_or_acquire() as producer:
                try:
                    found = producer.channel.queue_declare(JOBS_QUEUE, passive=True)
                except producer.connection.channel_errors:
                    # To Redis an empty queue is none.
                    return 0
                return int(found.message_count)
        except (OperationalError, OSError, RedisError) as error:
            log.warning("the broker cannot be reached", error=str(error))
            return None

    def reachable(self) -> bool:
        """Tell whether the broker answers."""
        try:
            _knock(self._app)
        except (OperationalError, OSError):
            return False
        return True


class ShareMessages:
    """Publishes the shares of a round, best effort: what nobody scores, the worker that shared it out scores itself."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, job_id: UUID, token: UUID, number: int, shares: int) -> bool:
        """Tell the workers of the shares of a round, and have the round closed when all are done with it.

        Returns:
            False when the broker cannot be reached: nobody can be expected.
        """
        of = [str(job_id), str(token), number]
        header = [
            self._app.signature(SCORE_SHARE, args=[*of, share], ignore_result=True) for share in range(shares)
        ]
        # Immutable, for the losses are in Postgres: nothing comes with the message.
        body = self._app.signature(CLOSE_ROUND, args=of, immutable=True, ignore_result=True)
        try:
            # Celery itself would knock for six seconds, in which a cancel goes unheard.
            _knock(self._app)
            chord(header, body, app=self._app).apply_async()
        except (OperationalError, OSError, RedisError) as error:
            log.warning("shares not published", job_id=str(job_id), round=number, error=str(error))
            return False
        return True


def _knock(app: Celery) -> None:
    """Do nothing if the broker answers within two seconds.

    Raises:
        OperationalError: it does not.
    """
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=2)
