"""Whoever submits: never twice by mistake, however often the service is away."""

import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from cli.embedded.announcement import Announcement

PATIENCE_SECONDS = 120


class Client:
    """Asks again until there is an answer, with the same key."""

    def __init__(self, data_dir: Path) -> None:
        announcement = Announcement.read(data_dir)
        assert announcement is not None
        self._http = httpx.Client(base_url=announcement.url, timeout=10, trust_env=False)
        assert announcement.database_url is not None
        self.database_url = announcement.database_url

    def submit(self, body: dict[str, Any]) -> str:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        response = self._until_answered("POST", "/jobs", json=body, headers=headers)
        assert response.status_code in {200, 201}, response.text
        job_id: str = response.json()["id"]
        return job_id

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; False if it had ended."""
        response = self._until_answered("POST", f"/jobs/{job_id}/cancel")
        assert response.status_code in {202, 409}, response.text
        return response.status_code == 202

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self._until_answered("GET", f"/jobs/{job_id}").raise_for_status().json()
        return job

    def _until_answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError:
                assert time.monotonic() < deadline
            else:
                if response.status_code != 503:
                    return response
            time.sleep(0.2)
