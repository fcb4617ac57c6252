"""The service as the commands see it."""

import os
from pathlib import Path
from typing import Any, Self

import httpx
from platformdirs import user_data_path

from cli.console import refuse, refuse_problem
from cli.embedded.announcement import Announcement

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 30
KEY_VARIABLE = "SECATEUR_API_KEY"
"""Not an option: the arguments of a command can be read by every user of a machine."""


class Client:
    """Talks to the API; what goes wrong ends the command with a sentence."""

    def __init__(self, url: str | None, data_dir: Path | None) -> None:
        self.url = url or _announced(data_dir or user_data_path("secateur")) or DEFAULT_URL
        key = os.environ.get(KEY_VARIABLE)
        self._http = httpx.Client(
            base_url=self.url,
            timeout=TIMEOUT_SECONDS,
            headers={"Authorization": f"Bearer {key}"} if key else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._request("GET", path, params=given)

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self._request("POST", path, json=body, headers=headers)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            refuse(
                f"no service answers at {self.url} ({error}). Start one with `secateur up`, or name it by --url."
            )
        if response.status_code == httpx.codes.UNAUTHORIZED:
            refuse(f"{self.url} wants an API key, or another one. Put one that it knows into {KEY_VARIABLE}.")
        if response.headers.get("content-type", "").startswith("application/problem+json"):
            refuse_problem(response.json())
        if response.is_error:
            refuse(f"{self.url} answered {response.status_code} {response.reason_phrase}.")
        return response.json()


def _announced(data_dir: Path) -> str | None:
    """Where the service that uses this data folder listens, if one runs."""
    announcement = Announcement.read(data_dir)
    return announcement.url if announcement else None
