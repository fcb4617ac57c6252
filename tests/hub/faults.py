"""What can go wrong between a client and a Hub, planted on purpose."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.hub.repositories import Refusal


@dataclass
class Fault:
    """Something that goes wrong with some requests.

    Attributes:
        method: of the requests.
        path: a pattern of their paths.
        times: with how many of them; then it has passed.
        status: answered in place of what was asked, if any.
        message: with the status.
        headers: with the status.
        cut: the connection is cut in the middle of the body.
        hold: the server stops reading in the middle of the body, until `release`.
        corrupt: a bit of the body flips on its way.
        swallow: what was asked is done, and the answer lost.
        before: called first.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    message: str = "planted"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hold: bool = False
    corrupt: bool = False
    swallow: bool = False
    before: Callable[[], object] = lambda: None
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> None:
        """Answer in place of the server, if that is what goes wrong."""
        if self.status is not None:
            raise Refusal(self.status, self.message, **self.headers)


class Faults:
    """Those that are planted."""

    def __init__(self) -> None:
        self._planted: list[Fault] = []
        self._lock = threading.Lock()

    def plant(self, fault: Fault) -> Fault:
        self._planted.append(fault)
        return fault

    def clear(self) -> None:
        for fault in self._planted:
            fault.release.set()
        self._planted.clear()

    def of(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._planted:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None
