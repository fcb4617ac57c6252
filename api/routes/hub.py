"""The local registry as a Hub: with `HF_ENDPOINT` set to `…/hub`, clients of the Hub load what was pruned by its name.

Read only. Paths, fields and headers are those that `huggingface_hub` asks for and reads, so they are not in our own
description of the API.
"""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response

from api import hub_answers
from api.authentication import HUB_READ, HubReader
from api.content_response import ContentResponse
from api.dependencies import PublishedCatalog
from api.problems import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from registry.catalog import list_models
from registry.names import MAIN
from registry.reading import Model, Version

router = APIRouter(prefix="/hub", dependencies=[HUB_READ], include_in_schema=False)


def _model(catalog: PublishedCatalog, owner: str, name: str) -> Model:
    """Find what is asked for.

    Raises:
        RepositoryNotFoundError: nothing was published under the name, or all of it was deleted.
    """
    found = catalog.find(f"{owner}/{name}")
    if found is None or not found.versions:
        raise RepositoryNotFoundError(f"{owner}/{name}", found.deleted_at(MAIN) if found else None)
    return found


Published = Annotated[Model, Depends(_model)]


async def _version(model: Published, revision: str = MAIN) -> Version:
    """Find the version that is asked for.

    Raises:
        RevisionNotFoundError: there is no such version, or it was deleted.
    """
    found = model.at(revision)
    if found is None:
        raise RevisionNotFoundError(
            model.name, revision, model.versions[0].commit, model.deleted_at(revision)
        )
    return found


Asked = Annotated[Version, Depends(_version)]


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
def list_all(
    catalog: PublishedCatalog, search: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 1000
) -> list[dict[str, Any]]:
    """List what is published, by name."""
    found = (each for each in list_models(catalog) if search.lower() in each.name.lower())
    return [hub_answers.model_info(model.versions[0]) for model in islice(found, limit)]


@router.get("/api/models/{owner}/{name}")
@router.get("/api/models/{owner}/{name}/revision/{revision}")
def model_info(version: Asked) -> dict[str, Any]:
    """Tell of a version: its commit and its files."""
    return hub_answers.model_info(version)


@router.get("/api/models/{owner}/{name}/refs")
def list_refs(model: Published) -> dict[str, Any]:
    """List branches and tags: `main`, and the tags of versions that there are."""
    return hub_answers.refs(model)


@router.get("/api/models/{owner}/{name}/commits/{revision}")
def list_commits(model: Published, version: Asked) -> list[dict[str, Any]]:
    """List a version and those before it, the newest first."""
    return hub_answers.commits(model.versions[model.versions.index(version) :])


@router.get("/api/models/{owner}/{name}/tree/{revision}")
@router.get("/api/models/{owner}/{name}/tree/{revision}/{path:path}")
def list_tree(version: Asked, path: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
    """List the files of a version, or of a folder in it."""
    entries = hub_answers.tree(version.manifest.files, path, recursive=recursive)
    if path and not entries:
        raise EntryNotFoundError(version.manifest.name, path, version.commit)
    return entries


@router.post("/api/models/{owner}/{name}/paths-info/{revision}")
async def describe_paths(request: Request, version: Asked) -> list[dict[str, Any]]:
    """Describe the files that the form's `paths` name, those that there are."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    asked = set(form.get("paths", []))
    return [hub_answers.entry(file) for file in version.manifest.files if file.path in asked]


@router.api_route(
    "/{owner}/{name}/resolve/{revision}/{path:path}",
    methods=["GET", "HEAD"],
    response_class=FileResponse,
)
def resolve(request: Request, version: Asked, path: str) -> Response:
    """Give a file, or the part that `Range` names; its ETag is its SHA-256."""
    found = version.file(path)
    if found is None:
        raise EntryNotFoundError(version.manifest.name, path, version.commit)
    file, place = found
    headers = {
        "X-Repo-Commit": version.commit,
        "ETag": f'"{file.sha256}"',
        "X-Linked-Size": str(file.bytes),
        "X-Linked-ETag": f'"{file.sha256}"',
        "Content-Disposition": "attachment",
    }
    # Whatever is in it, a browser is to save it and not to show it.
    media_type = "application/octet-stream"
    if isinstance(place, Path):
        return FileResponse(place, media_type=media_type, headers=headers)
    return ContentResponse(place, file.bytes, request, media_type=media_type, headers=headers)
