"""How clients publish to the Hub: an account, a repository, large files by digest, and at last one commit."""

import base64
import hashlib
import json
import math
import re
from typing import Any

import yaml

from tests.hub.calls import NAME, REPO, REVISION, Answer, Call, Hub, Routes
from tests.hub.repositories import File, Refusal

routes = Routes()


@routes.on("GET", "/api/whoami-v2")
def whoami(call: Call) -> Answer:
    return Answer.of({"type": "user", "name": call.require_account().name, "orgs": []})


@routes.on("POST", "/api/validate-yaml")
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


@routes.on("POST", "/api/repos/create")
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


@routes.on("POST", f"/api/models/{REPO}/preupload/{REVISION}")
def preupload(call: Call) -> Answer:
    call.require_writer()
    return Answer.of({"files": call.repository.upload_modes(call.revision, call.json)})


@routes.on("POST", rf"/{REPO}\.git/info/lfs/objects/batch")
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


@routes.on("PUT", "/storage/(?P<digest>[0-9a-f]{64})")
def put(call: Call) -> Answer:
    """As S3 does with a URL signed for a digest: no account, and no other content."""
    _keep(call.hub, call.digest, call.body)
    return Answer()


@routes.on("PUT", "/storage/(?P<digest>[0-9a-f]{64})/(?P<part>[0-9]+)")
def put_part(call: Call) -> Answer:
    call.hub.parts[call.digest, call.part] = call.body
    return Answer(ETag=f'"{_md5(call.body)}"')


@routes.on("POST", "/complete/(?P<digest>[0-9a-f]{64})")
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


@routes.on("POST", f"/api/models/{REPO}/lfs-verify")
def verify(call: Call) -> Answer:
    call.require_writer()
    content = call.hub.large.get(call.json["oid"])
    if content is None or len(content) != call.json["size"]:
        raise Refusal(422, "The file was not uploaded whole")
    return Answer()


@routes.on("POST", f"/api/models/{REPO}/commit/{REVISION}")
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


@routes.on("POST", f"/api/models/{REPO}/branch/{REVISION}")
def branch(call: Call) -> Answer:
    call.require_writer()
    branches = call.repository.branches
    if call.revision in branches:
        raise Refusal(409, "Reference already exists")
    branches[call.revision] = call.repository.resolve(
        json.loads(call.body or b"{}").get("startingPoint", "main")
    ).id
    return Answer()
