"""Following jobs to their end."""

import time
from collections.abc import Mapping
from typing import Any

from cli.client import Client
from cli.console import EXIT_JOB_DID_NOT_SUCCEED, err
from cli.display import live_progress, perplexity_so_far

POLL_SECONDS = 0.5
TERMINAL = ("succeeded", "failed", "cancelled")


def follow(client: Client, jobs: Mapping[str, str], *, visible: bool = True) -> list[dict[str, Any]]:
    """Show the progress of jobs until all have finished.

    Args:
        client: the service.
        jobs: job ids and what to call them.
        visible: draw bars; where the standard error is no terminal, a line is printed when a stage changes.

    Returns:
        The jobs, finished, in the order given.
    """
    finished: dict[str, dict[str, Any]] = {}
    stages: dict[str, str] = {}
    with live_progress(visible=visible and err.is_terminal) as bars:
        tasks = {
            job_id: bars.add_task(title, total=1.0, stage="queued", perplexity="", eta_seconds=None)
            for job_id, title in jobs.items()
        }
        while len(finished) < len(jobs):
            for job_id, title in jobs.items():
                if job_id in finished:
                    continue
                job = client.get(f"/jobs/{job_id}")
                stage = job["stage"] or job["state"]
                so_far = perplexity_so_far(job)
                bars.update(
                    tasks[job_id],
                    completed=job["progress"],
                    stage=stage,
                    perplexity=so_far,
                    eta_seconds=job["eta_seconds"],
                )
                line = f"{title}: {stage}" + (f", {so_far}" if so_far else "")
                if visible and not err.is_terminal and stages.get(job_id) != line:
                    err.print(f"{line} ({job['progress']:.0%})", soft_wrap=True)
                    stages[job_id] = line
                if job["state"] in TERMINAL:
                    finished[job_id] = job
            if len(finished) < len(jobs):
                time.sleep(POLL_SECONDS)
    return [finished[job_id] for job_id in jobs]


def exit_code(job: dict[str, Any]) -> int:
    return 0 if job["state"] == "succeeded" else EXIT_JOB_DID_NOT_SUCCEED
