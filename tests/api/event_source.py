"""Server-sent events as a client reads them."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Received:
    id: int | None
    name: str
    data: dict[str, Any]


@contextmanager
def follow(url: str, job_id: object, last: int | None = None) -> Iterator[Iterator[Received]]:
    """Open a stream, behind the event `last` if there is one; each event is given as soon as it is there."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with (
        httpx.Client(base_url=url, trust_env=False, timeout=20) as client,
        client.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield parse(response.iter_lines())


def parse(lines: Iterable[str]) -> Iterator[Received]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Received(
                int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])
            )
            fields = {}
