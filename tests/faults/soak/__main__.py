"""`python -m tests.faults.soak`: three hundred jobs, three workers, a fault every few seconds; prints JSON."""

import argparse
import json
import secrets
import shutil
import tempfile
from pathlib import Path

from tests.faults.soak.run import Plan, soak
from tests.tiny_models import make_tiny_llama


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--fault-seconds", type=float, default=480, help="for so long something happens")
    parser.add_argument("--calm-seconds", type=float, default=360, help="for so long the rest may take then")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of another run, to repeat it"
    )
    given = parser.parse_args()
    plan = Plan(given.jobs, given.workers, given.fault_seconds, given.calm_seconds, given.seed)
    folder = Path(tempfile.mkdtemp(prefix="secateur-soak-"))
    print(f"In {folder}, which stays if something is wrong", flush=True)  # noqa: T201
    (folder / "models").mkdir()
    report = soak(plan, folder, make_tiny_llama(folder / "models" / "tiny-llama"))
    print(json.dumps(report, indent=2))  # noqa: T201
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
