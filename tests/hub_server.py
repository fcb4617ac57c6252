"""A server that answers as much of the Hugging Face Hub's protocol as it takes to download a model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A running server with one repository, `owner/name`.

    Attributes:
        url: for HF_ENDPOINT.
        downloaded: the last parts of the paths that were sent, which are files' names.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.downloaded: list[str] = []


@contextmanager
def run_hub(folder: Path) -> Iterator[Hub]:
    """Serve a folder as the repository's only commit."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = self._answer()
            if content is not None:
                self.wfile.write(content)
                hub.downloaded.append(self.path.rpartition("/")[2])

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> bytes | None:
            """Send the head of an answer, and give what is to come behind it."""
            content = _content(folder, self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content or b"")))
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
            self.end_headers()
            return content

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _content(folder: Path, path: str) -> bytes | None:
    repository, _, name = path.partition(f"/resolve/{COMMIT}/")
    names = sorted(file.name for file in folder.iterdir())
    if repository == "/owner/name":
        return (folder / name).read_bytes() if name in names else None
    if path.startswith("/api/models/owner/name/tree/"):
        entries = [
            {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": name}
            for name in names
        ]
        return json.dumps(entries).encode()
    if path.startswith("/api/models/owner/name"):
        siblings = [{"rfilename": name} for name in names]
        return json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode()
    return None
