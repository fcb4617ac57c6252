"""What the Hub answers about a repository, of a model in the local registry.

The fields are those that `huggingface_hub` reads; see its `ModelInfo`, `RepoFile`, `RepoFolder`, `GitRefs` and
`GitCommitInfo`.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from registry.manifest import ManifestFile
from registry.names import MAIN
from registry.reading import Model, Version


def model_info(version: Version) -> dict[str, Any]:
    name = version.manifest.name
    published = _time(version)
    return {
        "_id": version.commit[:24],
        "id": name,
        "modelId": name,
        "author": name.partition("/")[0],
        "sha": version.commit,
        "createdAt": published,
        "lastModified": published,
        "private": False,
        "disabled": False,
        "gated": False,
        "downloads": 0,
        "likes": 0,
        "tags": ["transformers", "safetensors", "text-generation"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "usedStorage": version.manifest.bytes,
        "siblings": [
            {"rfilename": file.path, "size": file.bytes, "blobId": _blob_id(file), "lfs": _lfs(file)}
            for file in version.manifest.files
        ],
    }


def refs(model: Model) -> dict[str, Any]:
    newest = model.versions[0].commit
    return {
        "branches": [{"name": MAIN, "ref": f"refs/heads/{MAIN}", "targetCommit": newest}],
        "converts": [],
        "tags": [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
            for tag, commit in model.tags.items()
            if model.at(tag)
        ],
    }


def commits(versions: Sequence[Version]) -> list[dict[str, Any]]:
    return [
        {
            "id": version.commit,
            "authors": [],
            "date": _time(version),
            "title": f"Job {version.manifest.job_id}",
            "message": "",
        }
        for version in versions
    ]


def tree(files: Sequence[ManifestFile], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """List what is in a folder, files and folders, all below it if `recursive`; the top folder is empty."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.path.startswith(prefix):
            continue
        parts = file.path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            path = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                entries[path] = {"type": "directory", "oid": _oid(path), "size": 0, "path": path}
        if recursive or len(parts) == 1:
            entries[file.path] = entry(file)
    return [entries[path] for path in sorted(entries)]


def entry(file: ManifestFile) -> dict[str, Any]:
    return {"type": "file", "oid": _blob_id(file), "size": file.bytes, "path": file.path, "lfs": _lfs(file)}


def _time(version: Version) -> str:
    return version.manifest.published_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lfs(file: ManifestFile) -> dict[str, Any]:
    """Every file has its SHA-256, which the Hub tells of large ones; clients check it where it is told."""
    return {"oid": file.sha256, "sha256": file.sha256, "size": file.bytes, "pointerSize": 134}


def _blob_id(file: ManifestFile) -> str:
    return file.sha256[:40]


def _oid(path: str) -> str:
    return hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
