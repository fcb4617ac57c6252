"""How long those wait who look at a service with a long past."""

import asyncio
import random
import time
from collections import defaultdict
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from benchmarks.load.latencies import in_milliseconds
from benchmarks.load.past import COMMON_MODEL, RARE_MODEL, fill, job_id
from benchmarks.load.stack import SECATEUR, serving
from jobs import store
from jobs.database import Engine, connect
from jobs.settings import Settings
from jobs.store import Cursor

THINK_SECONDS = (0.5, 1.0)
WARM_UP_SECONDS = 3.0
FILTERS: dict[str, dict[str, str]] = {
    "none": {},
    "state": {"state": "failed"},
    "model": {"model": COMMON_MODEL},
    "method": {"method": "depth"},
    "state, model": {"state": "failed", "model": COMMON_MODEL},
    "state, method": {"state": "cancelled", "method": "depth"},
    "model, method": {"model": COMMON_MODEL, "method": "osscar"},
    "state, model, method": {"state": "succeeded", "model": COMMON_MODEL, "method": "osscar"},
    "a rare model": {"model": RARE_MODEL},
    "two that are common and rarely meet": {"model": COMMON_MODEL, "method": "depth"},
    "three that never meet": {"state": "running", "model": COMMON_MODEL, "method": "depth"},
}


def measure_reading(
    settings: Settings, folder: Path, *, jobs: int, seconds: float, clients: int
) -> dict[str, Any]:
    """Fill the database, and let clients ask for one thing after another, with a pause after each."""
    engine = connect(settings)
    started = time.perf_counter()
    fill(engine, jobs)
    filled = time.perf_counter() - started
    paths = _paths(engine, jobs)
    engine.dispose()
    with serving(SECATEUR, settings, folder / "reading.log") as server:
        asyncio.run(_poll(server.url, paths, min(WARM_UP_SECONDS, seconds), clients))
        latencies = asyncio.run(_poll(server.url, paths, seconds, clients))
    return {
        "jobs": jobs,
        "seconds_to_fill": filled,
        "clients": clients,
        "think_seconds": THINK_SECONDS,
        "milliseconds": {name: in_milliseconds(latencies[name]) for name in paths if latencies[name]},
    }


def _paths(engine: Engine, jobs: int) -> dict[str, str]:
    """What is asked for, by name."""

    def deep(**query: str) -> str:
        job = store.get(engine, job_id(jobs // 2))
        if job is None:
            raise RuntimeError("the database was not filled")
        return urlencode({**query, "cursor": Cursor(job.created_at, job.id).encode()})

    lists = {f"jobs by {name}": f"/jobs?{urlencode(filters)}" for name, filters in FILTERS.items()}
    return {
        "a job": f"/jobs/{job_id(jobs // 3)}",
        "a job with events": f"/jobs/{job_id(jobs // 2 // 5 * 5)}",
        **lists,
        "jobs, a deep page": f"/jobs?{deep()}",
        "jobs by model, a deep page": f"/jobs?{deep(model=COMMON_MODEL)}",
        "results": "/results",
        "results, a deep page": f"/results?{deep()}",
        "results of a model": f"/results?{urlencode({'model': COMMON_MODEL})}",
        "results as CSV": "/results?format=csv",
        "dashboard": "/",
        "dashboard, a deep page": f"/?{deep()}",
    }


async def _poll(url: str, paths: dict[str, str], seconds: float, clients: int) -> dict[str, list[float]]:
    latencies: dict[str, list[float]] = defaultdict(list)
    until = time.perf_counter() + seconds
    turns = cycle(paths.items())
    pause = random.Random(0)  # noqa: S311  not for secrets

    async def client(session: aiohttp.ClientSession) -> None:
        await asyncio.sleep(pause.uniform(0, THINK_SECONDS[1]))
        while time.perf_counter() < until:
            name, path = next(turns)
            asked = time.perf_counter()
            async with session.get(f"{url}{path}") as response:
                await response.read()
                response.raise_for_status()
            latencies[name].append(time.perf_counter() - asked)
            await asyncio.sleep(pause.uniform(*THINK_SECONDS))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return latencies
