"""The service under load: embedded Postgres and Valkey, and one uvicorn process unless told otherwise.

    python -m benchmarks.service_load --model FOLDER

Prints one JSON object per line. `posting`: jobs accepted a second, beside a service of FastAPI and Celery that stores
nothing, in turns. `reading`: what those wait who look at a million finished jobs. `claiming`: jobs claimed a second by
processes that reach for the same ones. `following`: open event streams.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.load.claiming import measure_claiming
from benchmarks.load.following import measure_following
from benchmarks.load.posting import measure_posting
from benchmarks.load.reading import measure_reading
from benchmarks.load.stack import running_servers

PARTS = ("posting", "reading", "claiming", "following")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint's folder, which jobs name")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-seconds", type=float, default=10)
    parser.add_argument("--posting-clients", type=int, default=16)
    parser.add_argument("--uvicorn-workers", type=int, default=1, help="of both services, while posting")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="that have finished, while reading")
    parser.add_argument("--reading-clients", type=int, default=20)
    parser.add_argument("--reading-seconds", type=float, default=180)
    parser.add_argument("--queued", type=int, default=10_000, help="jobs to claim")
    parser.add_argument("--workers", type=int, default=8, help="that claim")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--following-seconds", type=float, default=30)
    asked = parser.parse_args()
    for part in asked.only.split(","):
        # Each on servers of its own: a million jobs are not to slow those that come after.
        with tempfile.TemporaryDirectory(prefix="load-") as name:
            print(json.dumps({part: _measure(part, asked, Path(name))}), flush=True)


def _measure(part: str, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model = asked.model.resolve()
    with running_servers(folder, (model.parent,)) as settings:
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "posting": lambda: measure_posting(
                settings,
                folder,
                str(model),
                rounds=asked.rounds,
                seconds=asked.round_seconds,
                clients=asked.posting_clients,
                workers=asked.uvicorn_workers,
            ),
            "reading": lambda: measure_reading(
                settings,
                folder,
                jobs=asked.jobs,
                seconds=asked.reading_seconds,
                clients=asked.reading_clients,
            ),
            "claiming": lambda: measure_claiming(settings, jobs=asked.queued, workers=asked.workers),
            "following": lambda: measure_following(
                settings, folder, streams=asked.streams, seconds=asked.following_seconds
            ),
        }
        return parts[part]()


if __name__ == "__main__":
    main()
