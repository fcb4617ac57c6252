"""How many jobs are claimed a second when many workers reach for them at once."""

import multiprocessing
import random
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from uuid import UUID

from jobs import store
from jobs.database import connect
from jobs.settings import Settings

LEASE_SECONDS = 60
MESSAGES = 2
"""Which come for each job: some other worker's claim is always there to be refused."""


def measure_claiming(settings: Settings, *, jobs: int, workers: int) -> dict[str, Any]:
    engine = connect(settings)
    labels: dict[str, Any] = {"model": "claimed", "method": "osscar", "ratio": 0.25, "dataset": "builtin"}
    messages = [store.submit(engine, {}, **labels).job.id for _ in range(jobs)] * MESSAGES
    engine.dispose()
    random.Random(0).shuffle(messages)  # noqa: S311  not for secrets
    with multiprocessing.Manager() as manager, _processes(workers) as pool:
        barrier = manager.Barrier(workers)
        crew = [
            pool.submit(_claim_all, settings.database_url, messages[number::workers], barrier)
            for number in range(workers)
        ]
        spans = [worker.result() for worker in crew]
    claims = Counter(job_id for claimed, _, _ in spans for job_id in claimed)
    seconds = max(ended for _, _, ended in spans) - min(begun for _, begun, _ in spans)
    return {
        "jobs": jobs,
        "workers": workers,
        "messages": len(messages),
        "claimed": len(claims),
        "claimed_twice": sum(times > 1 for times in claims.values()),
        "claims_per_second": len(claims) / seconds,
    }


def _processes(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _claim_all(database_url: str, messages: list[UUID], barrier: Any) -> tuple[list[UUID], float, float]:
    """Claim what each message names, once everybody is there."""
    engine = connect(database_url)
    store.ping(engine)
    barrier.wait()
    begun = time.time()
    claimed = [job_id for job_id in messages if store.claim(engine, job_id, "load", LEASE_SECONDS)]
    return claimed, begun, time.time()
