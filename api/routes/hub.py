"""The local registry as a Hub: with `HF_ENDPOINT` set to `…/hub`, clients of the Hub load what was pruned by its name.

Read only. Paths, fields and headers are those that `huggingface_hub` asks for and reads, so they are not in our own
description of the API.
"""

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse

from api import hub_answers
from api.authentication import HUB_READ, HubReader
from api.dependencies import ServiceSettings
from api.problems import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from registry.reading import MAIN, Checkpoint, find_checkpoint, list_checkpoints

router = APIRouter(prefix="/hub", dependencies=[HUB_READ], include_in_schema=False)


async def _checkpoint(settings: ServiceSettings, owner: str, name: str, revision: str = MAIN) -> Checkpoint:
    """Find what is asked for.

    Raises:
        RepositoryNotFoundError: nothing was published under the name.
        RevisionNotFoundError: it was, but not as this revision.
    """
    found = find_checkpoint(settings.registry_root, owner, name)
    if found is None:
        raise RepositoryNotFoundError(f"{owner}/{name}")
    if not found.is_at(revision):
        raise RevisionNotFoundError(f"{owner}/{name}", revision, found.commit)
    return found


Published = Annotated[Checkpoint, Depends(_checkpoint)]


@router.get("/api/whoami-v2")
async def who_am_i(caller: HubReader) -> dict[str, Any]:
    """Say whose API key was sent as the Hub's token."""
    return {
        "type": "user",
        "name": caller.name,
        "fullname": caller.name,
        "orgs": [],
        "auth": {"type": "access_token"},
    }


@router.get("/api/models")
def list_models(
    settings: ServiceSettings, search: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 1000
) -> list[dict[str, Any]]:
    """List what is published, by name."""
    found = (
        each
        for each in list_checkpoints(settings.registry_root)
        if search.lower() in each.manifest.name.lower()
    )
    return [hub_answers.model_info(checkpoint) for checkpoint, _ in zip(found, range(limit), strict=False)]


@router.get("/api/models/{owner}/{name}")
@router.get("/api/models/{owner}/{name}/revision/{revision}")
def model_info(checkpoint: Published) -> dict[str, Any]:
    """Tell of a checkpoint: its commit and its files."""
    return hub_answers.model_info(checkpoint)


@router.get("/api/models/{owner}/{name}/refs")
def list_refs(checkpoint: Published) -> dict[str, Any]:
    """List branches and tags: `main` alone."""
    return hub_answers.refs(checkpoint)


@router.get("/api/models/{owner}/{name}/tree/{revision}")
@router.get("/api/models/{owner}/{name}/tree/{revision}/{path:path}")
def list_tree(checkpoint: Published, path: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
    """List the files of a checkpoint, or of a folder in it."""
    entries = hub_answers.tree(checkpoint.manifest.files, path, recursive=recursive)
    if path and not entries:
        raise EntryNotFoundError(checkpoint.manifest.name, path, checkpoint.commit)
    return entries


@router.post("/api/models/{owner}/{name}/paths-info/{revision}")
async def describe_paths(request: Request, checkpoint: Published) -> list[dict[str, Any]]:
    """Describe the files that the form's `paths` name, those that there are."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    asked = set(form.get("paths", []))
    return [hub_answers.entry(file) for file in checkpoint.manifest.files if file.path in asked]


@router.api_route(
    "/{owner}/{name}/resolve/{revision}/{path:path}",
    methods=["GET", "HEAD"],
    response_class=FileResponse,
)
def resolve(checkpoint: Published, path: str) -> FileResponse:
    """Give a file, or the part that `Range` names; its ETag is its SHA-256."""
    found = checkpoint.file(path)
    if found is None:
        raise EntryNotFoundError(checkpoint.manifest.name, path, checkpoint.commit)
    file, place = found
    return FileResponse(
        place,
        # Whatever is in it, a browser is to save it and not to show it.
        media_type="application/octet-stream",
        headers={
            "X-Repo-Commit": checkpoint.commit,
            "ETag": f'"{file.sha256}"',
            "X-Linked-Size": str(file.bytes),
            "X-Linked-ETag": f'"{file.sha256}"',
            "Content-Disposition": "attachment",
        },
    )
