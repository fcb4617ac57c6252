"""The Celery application: `celery -A worker.app worker --queues jobs`, `… --queues reconcile`, `… beat`."""

import logging
import os
import socket
import sys
from typing import Any
from uuid import UUID

from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown, worker_shutting_down

from jobs import logs
from jobs.database import connect
from jobs.queue import (
    CLOSE_ROUND,
    JOBS_QUEUE,
    RECONCILE,
    RUN_JOB,
    SCORE_SHARE,
    ShareMessages,
    WakeUps,
    make_celery,
)
from jobs.settings import Settings
from jobs.store import Round, Ticket, close_round, next_claimable, reconcile
from worker.probes import Probes, serve
from worker.share_supervisor import score_share
from worker.supervisor import run_jobs
from worker.workplace import Workplace

settings = Settings()  # every field comes from the environment
app = make_celery(settings)
wake_ups = WakeUps(app)
here = Workplace(
    engine=connect(settings),
    settings=settings,
    worker=f"{socket.gethostname()}:{os.getpid()}",
    messages=ShareMessages(app),
)


@setup_logging.connect
def _log(loglevel: int | None = None, **_: Any) -> None:
    logs.configure(settings.log_format, loglevel or logging.INFO)


@worker_init.connect
def _answer_probes(sender: Any, **_: Any) -> None:
    if settings.metrics_port is None or not _prunes(sender):
        return
    try:
        serve(Probes(here, wake_ups.reachable), settings.metrics_host, settings.metrics_port)
    except OSError as error:
        # Celery would log any other exception, and go on.
        sys.exit(
            f"SECATEUR_METRICS_PORT: nobody can listen on {settings.metrics_host}, port {settings.metrics_port}: "
            f"{error.strerror}. Name a free port of this machine, or none."
        )


@worker_ready.connect
def _prepare(sender: Any, **_: Any) -> None:
    if _prunes(sender):
        here.fork_server.start()
        # The broker may have lost what was published while no worker was there.
        if (job_id := next_claimable(here.engine)) is not None:
            wake_ups.publish(job_id)


def _prunes(worker: Any) -> bool:
    return JOBS_QUEUE in worker.app.amqp.queues.consume_from


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    # Celery waits for running tasks before it ends: this is what makes them end soon.
    here.stopping.set()


@worker_shutdown.connect
def _close(**_: Any) -> None:
    here.fork_server.close()


@app.task(name=RUN_JOB)
def run(job_id: str) -> None:
    """Run a job, if it is still queued, and those behind it: messages may be late, doubled or lost."""
    run_jobs(here, UUID(job_id))


@app.task(name=SCORE_SHARE)
def score(job_id: str, token: str, number: int, share: int) -> bool:
    """Score a share of the search that another worker does, if it is still wanted."""
    ticket = Ticket(Round(UUID(job_id), UUID(token), number), share)
    return not here.stopping.is_set() and score_share(here, ticket)


@app.task(name=CLOSE_ROUND)
def close(job_id: str, token: str, number: int) -> None:
    """Note that all shares of a round were scored or left: nobody needs to wait for it."""
    close_round(here.engine, Round(UUID(job_id), UUID(token), number))


@app.task(name=RECONCILE)
def reconcile_jobs() -> None:
    """Find jobs whose worker is gone and jobs whose wake-up got lost."""
    for job_id in reconcile(here.engine).to_wake:
        wake_ups.publish(job_id)
