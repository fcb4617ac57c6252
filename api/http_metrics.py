"""How many requests this process answered, and how quickly."""

import time
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER = "other"


class HttpMetrics:
    """Counts a request when its answer begins: an event stream would otherwise count as a slow request."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "secateur_http_requests",
            "Requests that this process answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "secateur_http_request_seconds",
            "Seconds from a request to the beginning of its answer.",
            ["method", "route"],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                labels = _method(scope), _route(scope)
                self._requests.labels(*labels, str(message["status"])).inc()
                self._seconds.labels(*labels).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted)


def _method(scope: Scope) -> str:
    """Name it if it has a name: who invents methods and paths must not make series without end."""
    method: str = scope["method"]
    return method if method in HTTPMethod.__members__ else OTHER


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", OTHER)
