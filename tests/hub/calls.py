"""What routes of the Hub on loopback are given, and what they answer."""

import json
import re
from collections.abc import Callable
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.hub.faults import Faults
from tests.hub.repositories import Account, Commit, Refusal, Repositories, Repository

NAME = r"[A-Za-z0-9._-]{1,96}"
REPO = rf"(?P<repo>{NAME}/{NAME})"
REVISION = r"(?P<revision>[^/]+)"


class Hub(Repositories):
    """A running server.

    Attributes:
        url: for HF_ENDPOINT.
        faults: what goes wrong.
        requests: all that were heard, as method and path.
        uploaded: how often each large file's whole content came, by digest.
        downloaded: names of the files that were sent.
        part_bytes: large files with more come in parts of so many.
    """

    def __init__(self, part_bytes: int) -> None:
        super().__init__()
        self.url = ""
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        self.uploaded: list[str] = []
        self.downloaded: list[str] = []
        self.parts: dict[tuple[str, int], bytes] = {}
        self.part_bytes = part_bytes
        self.lock = Lock()

    def asked(self, method: str, pattern: str) -> int:
        """Count requests."""
        return sum(verb == method and re.search(pattern, path) is not None for verb, path in self.requests)


class Answer:
    """A 200, and what comes with it."""

    def __init__(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.body = body
        self.status = status
        self.headers = headers

    @classmethod
    def of(cls, value: object, status: int = 200) -> "Answer":
        return cls(json.dumps(value).encode(), status)


class Call:
    """A request: what its route's groups caught, who sends it, and its body."""

    def __init__(
        self, hub: Hub, groups: dict[str, str], account: Account | None, query: str, body: bytes
    ) -> None:
        self.hub = hub
        self.account = account
        self.query = parse_qs(query)
        self.body = body
        self.repo = groups.get("repo", "")
        self.revision = unquote(groups.get("revision", "main"))
        self.path = unquote(groups.get("path") or "")
        self.digest = groups.get("digest", "")
        self.part = int(groups.get("part") or 0)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def repository(self) -> Repository:
        return self.hub.find(self.repo, self.account)

    @property
    def commit(self) -> Commit:
        return self.repository.resolve(self.revision)

    def require_account(self) -> Account:
        if self.account is None:
            raise Refusal(401, "Invalid username or password.")
        return self.account

    def require_writer(self) -> Account:
        account = self.require_account()
        _ = self.repository
        if self.repo.split("/")[0] not in account.writes:
            raise Refusal(403, f"Forbidden: you must use a write token to write to {self.repo}")
        return account


Route = Callable[[Call], Answer]


class Routes:
    """Which function answers what; the first whose pattern is the path."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []

    def on(self, method: str, pattern: str) -> Callable[[Route], Route]:
        def add(function: Route) -> Route:
            self._routes.append((method, re.compile(pattern), function))
            return function

        return add

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Find what answers, and what its pattern's groups caught."""
        for verb, pattern, function in self._routes:
            match = pattern.fullmatch(path)
            if verb == method and match:
                return function, {
                    name: caught for name, caught in match.groupdict().items() if caught is not None
                }
        return None
