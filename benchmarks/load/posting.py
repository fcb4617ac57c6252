"""How many jobs are accepted a second, beside a service that keeps nothing."""

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.load.stack import BARE, SECATEUR, serving
from jobs.settings import Settings


def measure_posting(
    settings: Settings, folder: Path, model: str, *, rounds: int, seconds: float, clients: int, workers: int
) -> dict[str, Any]:
    """Post to both in turns, so that whatever else the machine does slows both."""
    body = {
        "model": model,
        "method": "osscar",
        "ratio": 0.5,
        "calibration": {"dataset": "builtin", "samples": 4, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
    }
    rates: dict[str, list[float]] = {"secateur": [], "bare": []}
    client_shares: dict[str, list[float]] = {"secateur": [], "bare": []}
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(serving(app, settings, folder / f"{name}.log", workers)).url
            for name, app in {"secateur": SECATEUR, "bare": BARE}.items()
        }
        for url in urls.values():
            asyncio.run(_post_for(min(seconds, 1), url, body, clients))
        for _ in range(rounds):
            for name, url in urls.items():
                busy, started = time.process_time(), time.perf_counter()
                posted = asyncio.run(_post_for(seconds, url, body, clients))
                took = time.perf_counter() - started
                rates[name].append(posted / took)
                client_shares[name].append((time.process_time() - busy) / took)
    return {
        "clients": clients,
        "uvicorn_workers": workers,
        "seconds_a_round": seconds,
        "posts_per_second": rates,
        # Near 1 the clients would be what is measured.
        "clients_share_of_a_core": {name: median(shares) for name, shares in client_shares.items()},
        "median": {name: median(of_rounds) for name, of_rounds in rates.items()},
        "share_of_bare": median(
            ours / bare for ours, bare in zip(rates["secateur"], rates["bare"], strict=True)
        ),
    }


async def _post_for(seconds: float, url: str, body: dict[str, Any], clients: int) -> int:
    """Post until the time is up, each client its next job when the one before is accepted."""
    until = time.perf_counter() + seconds

    async def post_on(session: aiohttp.ClientSession, client: int) -> int:
        posted = 0
        while time.perf_counter() < until:
            calibration = body["calibration"] | {"seed": client * 1_000_000 + posted}
            async with session.post(f"{url}/jobs", json=body | {"calibration": calibration}) as response:
                accepted = await response.json()
                if response.status != 201:
                    raise RuntimeError(f"{response.status}: {accepted}")
            posted += 1
        return posted

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        return sum(await asyncio.gather(*(post_on(session, client) for client in range(clients))))
