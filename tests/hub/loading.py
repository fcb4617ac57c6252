"""How clients look at repositories of the Hub, and load files from them."""

from typing import Any
from urllib.parse import parse_qs

from tests.hub.calls import REPO, REVISION, Answer, Call, Routes
from tests.hub.repositories import File, Refusal

routes = Routes()


@routes.on("GET", f"/api/models/{REPO}(/revision/{REVISION})?")
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


@routes.on("GET", f"/api/models/{REPO}/refs")
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


@routes.on("GET", f"/api/models/{REPO}/commits/{REVISION}")
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


@routes.on("GET", f"/api/models/{REPO}/tree/{REVISION}(/(?P<path>.+))?")
def tree(call: Call) -> Answer:
    files = call.commit.files
    inside = {path: file for path, file in files.items() if not call.path or path.startswith(f"{call.path}/")}
    if call.path and not inside:
        raise Refusal(404, f"{call.path} does not exist", "EntryNotFound")
    return Answer.of([_entry(path, file) for path, file in sorted(inside.items())])


@routes.on("POST", f"/api/models/{REPO}/paths-info/{REVISION}")
def paths_info(call: Call) -> Answer:
    paths = parse_qs(call.body.decode()).get("paths", [])
    return Answer.of([_entry(path, call.commit.files[path]) for path in paths if path in call.commit.files])


def _entry(path: str, file: File) -> dict[str, Any]:
    size = len(file.content)
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": file.blob_id}
    if file.large:
        entry["lfs"] = {"oid": file.sha256, "size": size, "pointerSize": 134}
    return entry


@routes.on("GET", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)")
def resolve(call: Call) -> Answer:
    found = call.commit
    if call.path not in found.files:
        raise Refusal(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": found.id})
    file = found.files[call.path]
    headers = {"X-Repo-Commit": found.id, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if file.large:
        headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.etag}"'}
    return Answer(file.content, **headers)
