"""What a Hub holds: accounts, repositories with commits, branches and tags, and large files by their digests."""

import fnmatch
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGE = (".safetensors", ".bin", ".gguf")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


class Refusal(Exception):  # noqa: N818  an answer, of which some are errors
    """An answer that is not 2xx."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {**({"X-Error-Code": code} if code else {}), "X-Error-Message": message, **headers}


@dataclass(frozen=True)
class File:
    """A file of a commit."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        """As git names it; of a large file, its pointer."""
        stored = POINTER.format(self.sha256, len(self.content)).encode() if self.large else self.content
        return _sha1(b"blob %d\0" % len(stored) + stored)

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.blob_id


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    message: str
    author: str
    files: dict[str, File]


@dataclass
class Repository:
    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit:
        name = self.branches.get(revision) or self.tags.get(revision) or revision
        if name not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[name]

    def history(self, revision: str) -> list[Commit]:
        """From the newest on."""
        commits = [self.resolve(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits

    def commit(self, branch: str, author: str, title: str, message: str, files: dict[str, File]) -> Commit:
        parent = self.branches.get(branch)
        facts = [self.name, parent, title, message, {path: file.blob_id for path, file in files.items()}]
        name = _sha1(json.dumps(facts, sort_keys=True).encode())
        self.commits[name] = Commit(name, parent, title, message, author, files)
        self.branches[branch] = name
        return self.commits[name]

    def upload_modes(self, branch: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """Say where files would go, and whether a .gitignore leaves them out."""
        there = self.resolve(branch).files
        ignoring = asked.get("gitIgnore")
        if ignoring is None and ".gitignore" in there:
            ignoring = there[".gitignore"].content.decode()
        patterns = (ignoring or "").split()
        return [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": any(fnmatch.fnmatch(file["path"], pattern) for pattern in patterns),
                "oid": there[file["path"]].etag if file["path"] in there else None,
            }
            for file in asked["files"]
        ]


@dataclass(frozen=True)
class Account:
    """Who a token belongs to, and under whose names it may write."""

    name: str
    writes: tuple[str, ...]


class Repositories:
    """All of a Hub."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}

    def find(self, name: str, account: Account | None) -> Repository:
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not _sees(account, name)):
            raise Refusal(401 if account is None else 404, "Repository not found", "RepoNotFound")
        return repository

    def create(self, name: str, *, private: bool, author: str) -> Repository:
        if name in self.repositories:
            raise Refusal(409, "You already created this model repo")
        self.repositories[name] = Repository(name, private)
        files = {".gitattributes": File(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", large=False)}
        self.repositories[name].commit("main", author, "initial commit", "", files)
        return self.repositories[name]

    def seed(self, name: str, folder: Path | None = None, *, private: bool = False, **files: str) -> str:
        """Have somebody commit a folder's files, and others by name, and give the commit."""
        repository = self.repositories.get(name) or self.create(name, private=private, author="somebody")
        contents = {} if folder is None else {path.name: path.read_bytes() for path in folder.iterdir()}
        contents |= {path: text.encode() for path, text in files.items()}
        there = repository.resolve("main").files
        new = {path: File(content, path.endswith(LARGE)) for path, content in contents.items()}
        self.large |= {file.sha256: file.content for file in new.values() if file.large}
        return repository.commit("main", "somebody", "Somebody's", "", {**there, **new}).id


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _sees(account: Account | None, name: str) -> bool:
    return account is not None and name.split("/", maxsplit=1)[0] in {account.name, *account.writes}
