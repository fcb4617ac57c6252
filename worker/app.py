"""The Celery application: `celery -A worker.app worker --queues jobs`, `… --queues reconcile`, `… beat`."""

import logging
import os
import socket
import threading
from typing import Any
from uuid import UUID

from celery.signals import setup_logging, worker_shutting_down

from jobs import logs
from jobs.database import connect
from jobs.queue import CLOSE_ROUND, RECONCILE, RUN_JOB, SCORE_SHARE, ShareMessages, WakeUps, make_celery
from jobs.settings import Settings
from jobs.store import Round, Ticket, close_round, reconcile
from worker.share_supervisor import score_share
from worker.supervisor import run_job

settings = Settings()  # every field comes from the environment
app = make_celery(settings)
engine = connect(settings)
wake_ups = WakeUps(app)
share_messages = ShareMessages(app)
stopping = threading.Event()
worker_name = f"{socket.gethostname()}:{os.getpid()}"


@setup_logging.connect
def _log(loglevel: int | None = None, **_: Any) -> None:
    logs.configure(settings.log_format, loglevel or logging.INFO)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    # Celery waits for running tasks before it ends: this is what makes them end soon.
    stopping.set()


@app.task(name=RUN_JOB)
def run(job_id: str) -> None:
    """Run one job, if it is still queued: messages may be late or doubled."""
    if not stopping.is_set():
        run_job(engine, settings, UUID(job_id), worker_name, stopping, share_messages)


@app.task(name=SCORE_SHARE)
def score(job_id: str, token: str, number: int, share: int) -> bool:
    """Score a share of the search that another worker does, if it is still wanted."""
    ticket = Ticket(Round(UUID(job_id), UUID(token), number), share)
    return not stopping.is_set() and score_share(engine, settings, ticket, worker_name, stopping)


@app.task(name=CLOSE_ROUND)
def close(job_id: str, token: str, number: int) -> None:
    """Note that all shares of a round were scored or left: nobody needs to wait for it."""
    close_round(engine, Round(UUID(job_id), UUID(token), number))


@app.task(name=RECONCILE)
def reconcile_jobs() -> None:
    """Find jobs whose worker is gone and jobs whose wake-up got lost."""
    for job_id in reconcile(engine).to_wake:
        wake_ups.publish(job_id)
