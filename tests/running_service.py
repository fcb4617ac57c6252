"""The whole service as `secateur up` starts it, in processes of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from cli.embedded.announcement import Announcement

HUB_TOKEN = "hf_planted0to0be0found0nowhere"
START_SECONDS = 90
JOB_SECONDS = 180


@dataclass
class Service:
    """A running service, as its users see it."""

    data_dir: Path
    process: subprocess.Popen[bytes]
    http: httpx.Client

    def submit(self, **body: Any) -> dict[str, Any]:
        response = self.http.post("/jobs", json=body)
        assert response.status_code == 201, response.text
        job: dict[str, Any] = response.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.http.get(f"/jobs/{job_id}").raise_for_status().json()
        return job

    def wait(self, job_id: str, until: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + JOB_SECONDS
        while not until(job := self.job(job_id)):
            assert time.monotonic() < deadline, (job, self.log())
            time.sleep(0.1)
        return job

    def finish(self, job_id: str) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["finished_at"])

    def worker(self) -> psutil.Process:
        """The Celery process that runs jobs."""
        return next(
            process
            for process in psutil.Process(self.process.pid).children(recursive=True)
            if "celeryd: jobs@" in " ".join(process.cmdline())
        )

    def log(self) -> str:
        return (self.data_dir / "secateur.log").read_text()[-4000:]


@contextmanager
def run_service(data_dir: Path, models: Path) -> Iterator[Service]:
    """Start a service, and see to it that it stops in good order."""
    command = [sys.executable, "-m", "cli.main", "up", "--data", str(data_dir), "--port", "0"]
    command += ["--allow", str(models)]
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    # A dead worker is noticed sooner than an operator would want.
    env |= {"SECATEUR_LEASE_SECONDS": "6", "SECATEUR_RENEW_SECONDS": "1", "SECATEUR_DEVICE": "cpu"}
    # Titles of processes otherwise take the place of what is read of their environment.
    env |= {"HF_TOKEN": HUB_TOKEN, "SPT_NOENV": "1"}
    with (data_dir / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while (announcement := Announcement.read(data_dir)) is None:
        assert process.poll() is None, (data_dir / "output").read_text()
        assert time.monotonic() < deadline, (data_dir / "output").read_text()
        time.sleep(0.1)
    with httpx.Client(base_url=announcement.url, timeout=30, trust_env=False) as http:
        yield Service(data_dir, process, http)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not [p for p in family if p.is_running()]
