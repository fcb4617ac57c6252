"""A Hub on loopback that speaks as much of its protocol as clients need to publish and to load models.

It is honest: it keeps what it is given by digest, refuses what does not have the digest that was announced, what the
token may not do, and a commit onto a parent that is not the head any more.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from tests.hub import loading, publishing
from tests.hub.calls import Answer, Call, Hub
from tests.hub.repositories import Account, Refusal


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        url = urlsplit(self.path)
        self.hub.requests.append((self.command, url.path))
        fault = self.hub.faults.of(self.command, url.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None:
            fault.before()
            if fault.cut or fault.hold:
                self.rfile.read(length // 2)
                fault.held.set()
                if fault.hold:
                    fault.release.wait()
                self.close_connection = True
                return
        body = self.rfile.read(length)
        if fault is not None and fault.corrupt:
            body = bytes([body[0] ^ 1]) + body[1:]
        try:
            if fault is not None:
                fault.answer()
            answer = self._answer(method, url.path, url.query, body)
        except Refusal as refusal:
            answer = Answer.of({"error": refusal.message}, refusal.status)
            answer.headers = refusal.headers
        if fault is not None and fault.swallow:
            self.close_connection = True
            return
        self._send(answer, url.path)

    def _answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        for routes in (publishing.routes, loading.routes):
            found = routes.find(method, path)
            if found is not None:
                function, groups = found
                return function(Call(self.hub, groups, self._account(), query, body))
        raise Refusal(404, f"Not found: {method} {path}")

    def _account(self) -> Account | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.accounts:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.accounts.get(token)

    def _send(self, answer: Answer, path: str) -> None:
        content, status = answer.body, answer.status
        headers = dict(answer.headers)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and "Accept-Ranges" in headers:
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
            if "/resolve/" in path and status < 400:
                self.hub.downloaded.append(path.rpartition("/")[2])

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def run_hub(folder: Path | None = None, *, part_bytes: int = 10**9) -> Iterator[Hub]:
    """Serve; with a folder, as the newest commit of the public repository `owner/name`."""
    hub = Hub(part_bytes)
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    if folder is not None:
        hub.seed("owner/name", folder)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.faults.clear()
        server.shutdown()
        thread.join()
        server.server_close()
