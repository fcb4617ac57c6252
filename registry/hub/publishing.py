"""A checkpoint becomes one commit of a Hub repository.

A commit says which job made it. So a job that begins again, or whose commit's answer got lost, finds what it has
already published and does not publish it twice.
"""

import hashlib
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from huggingface_hub import CommitOperationDelete, HfApi, RepoFile
from huggingface_hub.errors import HfHubHTTPError

from registry.destination import HubDestination
from registry.hub.counted_file import CountedAddition
from registry.hub.errors import HubChangedError, HubRefusedError
from registry.hub.patience import patiently
from registry.local import Artifact
from registry.manifest import ManifestFile, describe_files

OnProgress = Callable[[int, int], None]
"""Told how many bytes of the checkpoint the Hub has, and of how many."""

READ_BY_LOADERS: Final = frozenset(
    [
        ".safetensors",
        ".bin",
        ".pt",
        ".pth",
        ".h5",
        ".msgpack",
        ".gguf",
        ".json",
        ".py",
        ".model",
        ".tiktoken",
        ".jinja",
        ".txt",
    ]
)
"""What `from_pretrained` may look for. Left there from an earlier checkpoint, it would be taken for a part of this."""


class HubArtifact(Artifact):
    """A checkpoint on the Hub: `location` and `revision` are what `from_pretrained` takes.

    Attributes:
        revision: the commit.
        url: the page of its files.
    """

    revision: str
    url: str


class HubPublisher:
    """Publishes the checkpoint of one job."""

    def __init__(self, destination: HubDestination, job_id: str) -> None:
        self._api = HfApi()
        self._destination = destination
        self._repo_id = destination.repo_id
        self._mark = f"Secateur-Job: {job_id}"
        self._files: list[ManifestFile] = []

    def commit(self, folder: Path, title: str, parent: str, on_progress: OnProgress) -> str:
        """Upload a checkpoint, what the Hub has of it aside, and commit it; or find the job's commit.

        Args:
            folder: the checkpoint.
            title: of the commit.
            parent: the commit that the branch was at when the job began.
            on_progress: told of the upload.

        Raises:
            HubChangedError: somebody has committed to the branch since, and overwriting was not asked for.
            HubError: the Hub refuses the checkpoint, or does not answer.
        """
        found = patiently(self._destination, f"read the history of {self._repo_id}", self._find_commit)
        self._files = describe_files(folder)
        if found is not None:
            return found
        additions = self._upload(folder, self._files, on_progress)
        return self._commit(additions, title, parent)

    def describe(self, commit: str) -> HubArtifact:
        """Describe what the job's commit holds.

        Raises:
            HubRefusedError: not all that was committed.
            HubError: the Hub does not answer.
        """
        held = patiently(
            self._destination, f"read what {self._repo_id} holds", lambda: self._read_back(commit)
        )
        return HubArtifact(
            name=self._repo_id,
            location=self._repo_id,
            bytes=sum(file.bytes for file in held),
            files=held,
            revision=commit,
            url=self.url_of(commit),
        )

    def url_of(self, commit: str) -> str:
        """Where a person sees its files."""
        return f"{self._api.endpoint}/{self._repo_id}/tree/{commit}"

    def _upload(
        self, folder: Path, files: Sequence[ManifestFile], on_progress: OnProgress
    ) -> list[CountedAddition]:
        """Send what goes into large file storage; small files go along with the commit."""
        total, before = sum(file.bytes for file in files), 0
        additions: list[CountedAddition] = []
        on_progress(0, total)
        for file in files:

            def told(read: int, before: int = before) -> None:
                on_progress(before + read, total)

            addition = CountedAddition(folder, file, told)

            def send(addition: CountedAddition = addition) -> None:
                self._api.preupload_lfs_files(
                    self._repo_id,
                    [addition],
                    revision=self._destination.revision,
                    free_memory=False,
                    # Or a .gitignore of the repository would leave files out.
                    gitignore_content="",
                )

            patiently(self._destination, f"upload {file.path} to {self._repo_id}", send, sends_file=True)
            additions.append(addition)
            before += file.bytes
            on_progress(before, total)
        return additions

    def _commit(self, additions: Sequence[CountedAddition], title: str, parent: str) -> str:
        def commit() -> str:
            # Asked each time: the answer to the time before may have got lost.
            found = self._find_commit()
            if found is not None:
                return found
            onto = self._head() if self._destination.overwrite else parent
            try:
                return self._api.create_commit(
                    self._repo_id,
                    [*additions, *self._deletions(onto, additions)],
                    commit_message=title,
                    commit_description=self._mark,
                    revision=self._destination.revision,
                    parent_commit=onto,
                ).oid
            except HfHubHTTPError as error:
                if error.response.status_code != HTTPStatus.PRECONDITION_FAILED:
                    raise
                if self._destination.overwrite:
                    raise ConnectionError(f"{self._repo_id} was changed at that moment") from error
                found = self._find_commit()
                if found is not None:
                    return found
                raise self._changed(parent) from error

        return patiently(self._destination, f"commit to {self._repo_id}", commit)

    def _changed(self, parent: str) -> HubChangedError:
        branch = self._destination.revision
        return HubChangedError(
            "destination.repo_id",
            self._repo_id,
            f"its branch {branch} was at commit {parent} when the job began, and is now at {self._head()}.",
            "Nothing was overwritten. Send the job again with overwrite: true to commit on top of that, or with "
            "another revision.",
        )

    def _find_commit(self) -> str | None:
        """Find the commit that this job has made; the first, if somehow there are more."""
        history = self._api.list_repo_commits(self._repo_id, revision=self._destination.revision)
        own = [commit.commit_id for commit in history if self._mark in commit.message.splitlines()]
        return own[-1] if own else None

    def _head(self) -> str:
        head = self._api.model_info(self._repo_id, revision=self._destination.revision).sha
        assert head is not None  # noqa: S101  the Hub always says it
        return head

    def _deletions(self, parent: str, additions: Sequence[CountedAddition]) -> list[CommitOperationDelete]:
        new = {addition.path_in_repo for addition in additions}
        there = self._api.list_repo_tree(self._repo_id, revision=parent)
        paths = [PurePosixPath(entry.path) for entry in there if isinstance(entry, RepoFile)]
        return [
            CommitOperationDelete(str(path))
            for path in paths
            if str(path) not in new
            and path.suffix in READ_BY_LOADERS
            and not path.name.lower().startswith(("license", "notice"))
        ]

    def _read_back(self, commit: str) -> list[ManifestFile]:
        sent = {file.path: file for file in self._files}
        tree = self._api.list_repo_tree(self._repo_id, revision=commit, recursive=True)
        held = {entry.path: entry for entry in tree if isinstance(entry, RepoFile) and entry.path in sent}
        lost = [path for path in sent if path not in held]
        if lost:
            raise HubRefusedError(
                "destination.repo_id",
                self._repo_id,
                f"its commit {commit} does not hold {', '.join(lost)}.",
                "Do not use that commit, and send the job again.",
            )
        return [self._describe(commit, held[path]) for path in sorted(held)]

    def _describe(self, commit: str, entry: RepoFile) -> ManifestFile:
        if entry.lfs is not None:
            return ManifestFile(path=entry.path, bytes=entry.size, sha256=entry.lfs.sha256)
        with TemporaryDirectory(prefix="secateur-") as folder:
            copy = self._api.hf_hub_download(self._repo_id, entry.path, revision=commit, local_dir=folder)
            content = Path(copy).read_bytes()
        return ManifestFile(path=entry.path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
