"""A worker's own `/metrics` and `/readyz`."""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from jobs.store import check_database
from worker.workplace import Workplace


class Probes:
    """The WSGI application: whether this worker can claim a job and keep it, and what it tells of those it had."""

    def __init__(self, here: Workplace, broker_answers: Callable[[], bool]) -> None:
        self._here = here
        self._broker_answers = broker_answers
        self._metrics: WSGIApplication = make_wsgi_app(here.metrics.registry)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/readyz":
                ready, answer = self._readiness()
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            case _:
                status, answer = HTTPStatus.NOT_FOUND, {"detail": "There are /metrics and /readyz."}
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _readiness(self) -> tuple[bool, dict[str, str]]:
        stopping = self._here.stopping.is_set()
        health = check_database(self._here.engine)
        answer = {
            "worker": "stopping" if stopping else "ok",
            "database": health.state,
            "broker": "ok" if self._broker_answers() else "unreachable",
        }
        if health.detail is not None:
            answer["detail"] = health.detail
        return not stopping and health.state == "ok", answer


def serve(probes: Probes, host: str, port: int) -> None:
    """Answer on a thread of their own, for as long as this process lives.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    server = make_server(host, port, probes, server_class=_server_for(host), handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()


def _server_for(host: str) -> type[ThreadingWSGIServer]:
    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing: a line for every scrape would hide the others."""
