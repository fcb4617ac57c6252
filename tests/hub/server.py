"""A Hub on loopback that speaks as much of its protocol as clients need to publish and to load models.

It is honest: it keeps what it is given by digest, refuses what does not have the digest that was announced, what the
token may not do, and a commit onto a parent that is not the head any more.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub.faults import Faults
from tests.hub.repositories import Account, Commit, File, Refusal, Repositories, Repository

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
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    def add(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


@route("GET", "/api/whoami-v2")
def whoami(call: Call) -> Answer:
    return Answer.of({"type": "user", "name": call.require_account().name, "orgs": []})


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Answer:
    match = re.match(r"---\n(.*?)\n---\n", call.json["content"], re.DOTALL)
    try:
        found = yaml.safe_load(match[1]) if match else {}
        errors = [] if isinstance(found, dict) else [{"message": "metadata is no mapping"}]
        base = "owner/name" if errors else found.get("base_model", "owner/name")
        if not re.fullmatch(f"({NAME}/)?{NAME}", base):
            errors.append({"message": '"base_model" must be a model id'})
    except yaml.YAMLError as error:
        errors = [{"message": str(error)}]
    return Answer.of({"errors": errors, "warnings": []}, 400 if errors else 200)


@route("POST", "/api/repos/create")
def create(call: Call) -> Answer:
    account, asked = call.require_account(), call.json
    name = f"{asked['organization'] or account.name}/{asked['name']}"
    if not re.fullmatch(f"{NAME}/{NAME}", name) or "--" in name or ".." in name:
        raise Refusal(400, f"Invalid repository name: {name}")
    if name.split("/", maxsplit=1)[0] not in account.writes:
        raise Refusal(
            403, f"You don't have the rights to create a model under {name.split('/', maxsplit=1)[0]}"
        )
    try:
        call.hub.create(name, private=asked.get("visibility") == "private", author=account.name)
    except Refusal as refusal:
        return Answer.of({"error": refusal.message, "url": f"{call.hub.url}/{name}"}, refusal.status)
    return Answer.of({"url": f"{call.hub.url}/{name}", "name": name})


@route("POST", f"/api/models/{REPO}/preupload/{REVISION}")
def preupload(call: Call) -> Answer:
    call.require_writer()
    return Answer.of({"files": call.repository.upload_modes(call.revision, call.json)})


@route("POST", rf"/{REPO}\.git/info/lfs/objects/batch")
def batch(call: Call) -> Answer:
    call.require_writer()
    return Answer.of({"objects": [_transfer(call.hub, call.repo, asked) for asked in call.json["objects"]]})


def _transfer(hub: Hub, repo: str, asked: dict[str, Any]) -> dict[str, Any]:
    digest, size = asked["oid"], asked["size"]
    if digest in hub.large:
        return {"oid": digest, "size": size}
    upload: dict[str, Any] = {"href": f"{hub.url}/storage/{digest}"}
    if size > hub.part_bytes:
        parts = range(1, math.ceil(size / hub.part_bytes) + 1)
        urls = {str(part): f"{hub.url}/storage/{digest}/{part}" for part in parts}
        upload = {
            "href": f"{hub.url}/complete/{digest}",
            "header": {"chunk_size": str(hub.part_bytes), **urls},
        }
    verify = {"href": f"{hub.url}/api/models/{repo}/lfs-verify"}
    return {"oid": digest, "size": size, "actions": {"upload": upload, "verify": verify}}


@route("PUT", "/storage/(?P<digest>[0-9a-f]{64})")
def put(call: Call) -> Answer:
    """As S3 does with a URL signed for a digest: no account, and no other content."""
    _keep(call.hub, call.digest, call.body)
    return Answer()


@route("PUT", "/storage/(?P<digest>[0-9a-f]{64})/(?P<part>[0-9]+)")
def put_part(call: Call) -> Answer:
    call.hub.parts[call.digest, call.part] = call.body
    return Answer(ETag=f'"{_md5(call.body)}"')


@route("POST", "/complete/(?P<digest>[0-9a-f]{64})")
def complete(call: Call) -> Answer:
    content = b""
    for told in call.json["parts"]:
        part = call.hub.parts[call.digest, told["partNumber"]]
        if told["etag"].strip('"') != _md5(part):
            raise Refusal(400, "InvalidPart")
        content += part
    _keep(call.hub, call.digest, content)
    return Answer()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _keep(hub: Hub, digest: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != digest:
        raise Refusal(400, "BadDigest: what came does not have the digest that was announced")
    hub.large[digest] = content
    hub.uploaded.append(digest)


@route("POST", f"/api/models/{REPO}/lfs-verify")
def verify(call: Call) -> Answer:
    call.require_writer()
    content = call.hub.large.get(call.json["oid"])
    if content is None or len(content) != call.json["size"]:
        raise Refusal(422, "The file was not uploaded whole")
    return Answer()


@route("POST", f"/api/models/{REPO}/commit/{REVISION}")
def commit(call: Call) -> Answer:
    account, repository = call.require_writer(), call.repository
    lines = [json.loads(line) for line in call.body.splitlines()]
    header = lines[0]["value"]
    with call.hub.lock:
        if call.revision not in repository.branches:
            raise Refusal(404, f"Invalid rev id: {call.revision}", "RevisionNotFound")
        if header.get("parentCommit") not in {None, repository.branches[call.revision]}:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(call.commit.files)
        for line in lines[1:]:
            _apply(call.hub, files, line["key"], line["value"])
        made = repository.commit(call.revision, account.name, header["summary"], header["description"], files)
    url = f"{call.hub.url}/{call.repo}/commit/{made.id}"
    return Answer.of({"success": True, "commitOid": made.id, "commitUrl": url})


def _apply(hub: Hub, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        files[path] = File(base64.b64decode(value["content"]), large=False)
    elif key == "lfsFile":
        if len(hub.large.get(value["oid"], b"")) != value["size"]:
            raise Refusal(400, f"Your push was rejected because an LFS pointer is broken: {path}")
        files[path] = File(hub.large[value["oid"]], large=True)
    elif files.pop(path, None) is None:
        raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")


@route("POST", f"/api/models/{REPO}/branch/{REVISION}")
def branch(call: Call) -> Answer:
    call.require_writer()
    branches = call.repository.branches
    if call.revision in branches:
        raise Refusal(409, "Reference already exists")
    branches[call.revision] = call.repository.resolve(
        json.loads(call.body or b"{}").get("startingPoint", "main")
    ).id
    return Answer()


@route("GET", f"/api/models/{REPO}(/revision/{REVISION})?")
def model_info(call: Call) -> Answer:
    found = call.commit
    return Answer.of(
        {
            "id": call.repo,
            "sha": found.id,
            "private": call.repository.private,
            "siblings": [{"rfilename": path} for path in sorted(found.files)],
        }
    )


@route("GET", f"/api/models/{REPO}/refs")
def refs(call: Call) -> Answer:
    def listed(kind: str, there: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in there.items()
        ]

    repository = call.repository
    return Answer.of(
        {
            "branches": listed("heads", repository.branches),
            "tags": listed("tags", repository.tags),
            "converts": [],
        }
    )


@route("GET", f"/api/models/{REPO}/commits/{REVISION}")
def commits(call: Call) -> Answer:
    return Answer.of(
        [
            {
                "id": each.id,
                "title": each.title,
                "message": each.message,
                "authors": [{"user": each.author}],
                "date": "2026-01-02T03:04:05.000Z",
            }
            for each in call.repository.history(call.revision)
        ]
    )


@route("GET", f"/api/models/{REPO}/tree/{REVISION}(/(?P<path>.+))?")
def tree(call: Call) -> Answer:
    files = call.commit.files
    inside = {path: file for path, file in files.items() if not call.path or path.startswith(f"{call.path}/")}
    if call.path and not inside:
        raise Refusal(404, f"{call.path} does not exist", "EntryNotFound")
    return Answer.of([_entry(path, file) for path, file in sorted(inside.items())])


@route("POST", f"/api/models/{REPO}/paths-info/{REVISION}")
def paths_info(call: Call) -> Answer:
    paths = parse_qs(call.body.decode()).get("paths", [])
    return Answer.of([_entry(path, call.commit.files[path]) for path in paths if path in call.commit.files])


def _entry(path: str, file: File) -> dict[str, Any]:
    size = len(file.content)
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": file.blob_id}
    if file.large:
        entry["lfs"] = {"oid": file.sha256, "size": size, "pointerSize": 134}
    return entry


@route("GET", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)")
def resolve(call: Call) -> Answer:
    found = call.commit
    if call.path not in found.files:
        raise Refusal(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": found.id})
    file = found.files[call.path]
    headers = {"X-Repo-Commit": found.id, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if file.large:
        headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.etag}"'}
    return Answer(file.content, **headers)


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
        for verb, pattern, function in ROUTES:
            match = pattern.fullmatch(path)
            if verb == method and match:
                groups = {name: caught for name, caught in match.groupdict().items() if caught is not None}
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
