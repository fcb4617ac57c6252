"""What hundreds of open event streams cost a process of the API, and those who ask it for something else."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.load.latencies import in_milliseconds
from benchmarks.load.stack import SECATEUR, Server, serving
from jobs import store
from jobs.database import Engine, connect
from jobs.settings import Settings
from jobs.store import Event, Lease

JOBS = 10
EVERY_SECONDS = 0.5
LEASE_SECONDS = 3600
SETTLE_SECONDS = 2
OTHERS = 5
KIND = "told"


def measure_following(settings: Settings, folder: Path, *, streams: int, seconds: float) -> dict[str, Any]:
    """Open the streams of a few running jobs, and tell of each job what time it is."""
    engine = connect(settings)
    leases = [_start(engine) for _ in range(JOBS)]
    with serving(SECATEUR, settings, folder / "following.log") as server:
        before = server.resident_bytes
        delays, others, resident = asyncio.run(_follow(server, engine, leases, streams, seconds))
    engine.dispose()
    return {
        "streams": streams,
        "jobs": JOBS,
        "seconds_between_events_of_a_job": EVERY_SECONDS,
        "milliseconds_to_the_reader": in_milliseconds(delays),
        "milliseconds_of_other_requests": in_milliseconds(others),
        "resident_bytes_without_streams": before,
        "resident_bytes_with_streams": resident,
        "bytes_a_stream": (resident - before) / streams,
    }


def _start(engine: Engine) -> Lease:
    labels: dict[str, Any] = {"model": "followed", "method": "osscar", "ratio": 0.25, "dataset": "builtin"}
    job = store.submit(engine, {"model": {"id": "followed"}}, **labels).job
    lease = store.claim(engine, job.id, "load", LEASE_SECONDS)
    if lease is None:
        raise RuntimeError("a new job could not be claimed")
    return lease


async def _follow(
    server: Server, engine: Engine, leases: list[Lease], streams: int, seconds: float
) -> tuple[list[float], list[float], int]:
    delays: list[float] = []
    others: list[float] = []
    opened: asyncio.Queue[None] = asyncio.Queue()
    session = aiohttp.ClientSession(
        server.url, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )

    async def read(lease: Lease) -> None:
        async with session.get(f"/jobs/{lease.job_id}/events") as response:
            response.raise_for_status()
            opened.put_nowait(None)
            async for line in response.content:
                name, _, content = line.decode().strip().partition(": ")
                if name == "data" and KIND in (told := json.loads(content).get("data", {})):
                    delays.append(time.time() - told[KIND])

    async def ask(lease: Lease) -> None:
        while True:
            asked = time.perf_counter()
            async with session.get(f"/jobs/{lease.job_id}") as response:
                await response.read()
                response.raise_for_status()
            others.append(time.perf_counter() - asked)
            await asyncio.sleep(EVERY_SECONDS)

    async with session:
        readers = [asyncio.create_task(read(leases[number % JOBS])) for number in range(streams)]
        for _ in readers:
            await opened.get()
        await asyncio.sleep(SETTLE_SECONDS)
        askers = [asyncio.create_task(ask(lease)) for lease in leases[:OTHERS]]
        told = await asyncio.to_thread(_tell, engine, leases, seconds)
        await asyncio.sleep(SETTLE_SECONDS)
        resident = server.resident_bytes
        for task in [*readers, *askers]:
            task.cancel()
        await asyncio.gather(*readers, *askers, return_exceptions=True)
    expected = told * streams // JOBS
    if len(delays) != expected:
        raise RuntimeError(f"{len(delays)} events came to their readers of {expected}")
    return delays, others, resident


def _tell(engine: Engine, leases: list[Lease], seconds: float) -> int:
    """Record events until the time is up, and say how many."""
    until, told = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        for lease in leases:
            store.record(engine, lease, [Event(KIND, {KIND: time.time()})])
            told += 1
        time.sleep(EVERY_SECONDS)
    return told
