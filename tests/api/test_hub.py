"""The registry as a Hub: what its own clients make of it, and what nobody gets out of it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.file_download import http_get
from sqlalchemy import Engine
from starlette.testclient import TestClient
from transformers import AutoModelForCausalLM

from api.application import create_app
from jobs import store
from jobs.api_keys import Scope
from jobs.settings import Settings
from registry.deleting import delete_version
from registry.local import LocalRegistry
from registry.manifest import COMMIT_NAME, MANIFEST_NAME
from registry.reading import Model, Version, find_model
from registry.tags import set_tag
from tests.api.conftest import problem_of

JOB, LATER_JOB = "11111111-aaaa-4000-8000-000000000000", "22222222-bbbb-4000-8000-000000000000"
NAME = "pruned/tiny-osscar-25-11111111"
FILE = f"/hub/{NAME}/resolve/main/model.safetensors"

ASK = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer
name, commit = sys.argv[1:]
api = HfApi()

def refused(ask):
    try:
        ask()
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        return type(error).__name__

models = [AutoModelForCausalLM.from_pretrained(name, revision=revision) for revision in ("main", commit)]
sums = [sum(weight.double().sum().item() for weight in model.state_dict().values()) for model in models]
tree = {entry.path: getattr(entry, "lfs", None) for entry in api.list_repo_tree(name, recursive=True)}
print(json.dumps({
    "sums": sums,
    "tokens": AutoTokenizer.from_pretrained(name)("some text")["input_ids"],
    "sha": api.model_info(name, files_metadata=True).sha,
    "listed": [model.id for model in api.list_models(search="tiny")],
    "files": api.list_repo_files(name, revision=commit),
    "digests": {path: lfs.sha256 for path, lfs in tree.items() if lfs},
    "folders": [path for path, lfs in tree.items() if not lfs],
    "below": [entry.path for entry in api.list_repo_tree(name, "deeper")],
    "described": [entry.path for entry in api.get_paths_info(name, ["config.json", "nothing"])],
    "branches": [[branch.name, branch.target_commit] for branch in api.list_repo_refs(name).branches],
    "there": [api.file_exists(name, path) for path in ("config.json", "nothing")],
    "snapshot": snapshot_download(name, revision=commit[:8]),
    "refused": [
        refused(lambda: hf_hub_download(name, "nothing")),
        refused(lambda: hf_hub_download(name, "config.json", revision="0" * 40)),
        refused(lambda: hf_hub_download("pruned/nothing", "config.json")),
    ],
}))
"""

ASK_ABOUT_VERSIONS = """
import json, pathlib, sys
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RevisionNotFoundError
name, *revisions = sys.argv[1:]
api, notes, refused = HfApi(), [], []
for revision in revisions:
    try:
        notes.append(pathlib.Path(hf_hub_download(name, "deeper/notes.txt", revision=revision)).read_text())
    except RevisionNotFoundError as error:
        notes.append(None)
        refused.append(f"{type(error).__name__}: {error}")
refs = api.list_repo_refs(name)
print(json.dumps({
    "notes": notes,
    "refused": refused,
    "branches": {branch.name: branch.target_commit for branch in refs.branches},
    "tags": {tag.name: tag.target_commit for tag in refs.tags},
    "commits": [commit.commit_id for commit in api.list_repo_commits(name)],
}))
"""


def publish(
    settings: Settings, model: Path, job_id: str = JOB, name: str = NAME, notes: str = "notes"
) -> Path:
    """Publish a checkpoint as a job does."""
    registry = LocalRegistry(settings.registry_root)
    staged = registry.stage(job_id)
    shutil.copytree(model, staged, dirs_exist_ok=True)
    (staged / "deeper").mkdir()
    (staged / "deeper" / "notes.txt").write_text(notes)
    return Path(registry.publish(job_id, job_id, name).location)


def read(settings: Settings, name: str = NAME) -> tuple[Model, Version]:
    """What there is under a name, and its newest version."""
    model = find_model(settings.registry_root, name)
    assert model is not None
    return model, model.versions[0]


@pytest.fixture(scope="module")
def published(module_settings: Settings, tiny_llama: Path) -> Path:
    return publish(module_settings, tiny_llama)


@pytest.fixture
def hub(settings: Settings, engine: Engine, tiny_llama: Path) -> Iterator[TestClient]:
    publish(settings, tiny_llama)
    with TestClient(create_app(settings)) as client:
        yield client


def ask(url: str, home: Path, script: str, *arguments: str, token: str = "") -> dict[str, Any]:
    """Ask with the Hub's own clients, in a process whose cache is empty."""
    env = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    env |= {"HF_ENDPOINT": f"{url}/hub", "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=env | ({"HF_TOKEN": token} if token else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


def test_clients_of_the_hub_load_and_look_at_what_was_pruned(
    running_url: str, published: Path, module_settings: Settings, tmp_path: Path
) -> None:
    _, checkpoint = read(module_settings)
    files = {file.path: file.sha256 for file in checkpoint.manifest.files}
    # Where no key is required, what a user has for the real Hub is no obstacle.
    answered = ask(running_url, tmp_path, ASK, NAME, checkpoint.commit, token="hf_of_the_user")
    weights = AutoModelForCausalLM.from_pretrained(published).state_dict().values()
    assert answered["sums"] == [sum(weight.double().sum().item() for weight in weights)] * 2
    assert answered["tokens"]
    assert answered["sha"] == checkpoint.commit
    assert answered["listed"] == [NAME]
    assert sorted(answered["files"]) == sorted(files)
    assert answered["digests"] == files
    assert answered["folders"] == ["deeper"]
    assert answered["below"] == ["deeper/notes.txt"]
    assert answered["described"] == ["config.json"]
    assert answered["branches"] == [["main", checkpoint.commit]]
    assert answered["there"] == [True, False]
    snapshot = Path(answered["snapshot"])
    assert {path: hashlib.sha256((snapshot / path).read_bytes()).hexdigest() for path in files} == files
    assert answered["refused"] == [
        "RemoteEntryNotFoundError",
        "RevisionNotFoundError",
        "RepositoryNotFoundError",
    ]


def test_a_download_that_was_cut_off_goes_on(
    running_url: str, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    content = (published / "model.safetensors").read_bytes()
    half = len(content) // 2
    with (tmp_path / "partial").open("wb") as file:
        # What came of it: other bytes than are there, to tell which were sent again.
        file.write(b"\0" * half)
        http_get(f"{running_url}{FILE}", file, resume_size=half, expected_size=len(content))
    assert (tmp_path / "partial").read_bytes() == b"\0" * half + content[half:]
    head = httpx.head(f"{running_url}{FILE}", trust_env=False)
    assert head.headers["accept-ranges"] == "bytes"
    assert int(head.headers["content-length"]) == len(content)
    assert head.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    # Of another version of the file nothing may be put behind what came.
    other = httpx.get(
        f"{running_url}{FILE}", headers={"Range": f"bytes={half}-", "If-Range": '"another"'}, trust_env=False
    )
    assert (other.status_code, other.content) == (200, content)


@pytest.mark.parametrize(
    "path",
    [
        f"/hub/{NAME}/resolve/main/{MANIFEST_NAME}",
        f"/hub/{NAME}/resolve/main/{COMMIT_NAME}",
        f"/hub/{NAME}/resolve/../../../../.blobs/x",
        f"/hub/{NAME}/resolve/main/../../../etc/passwd",
        f"/hub/{NAME}/resolve/main/..%2f..%2f..%2fetc%2fpasswd",
        f"/hub/{NAME}/resolve/main//etc/passwd",
        f"/hub/{NAME}/resolve/main/config.json%00",
        f"/hub/{NAME}/resolve/main/deeper",
        f"/hub/{NAME}/resolve/main/",
        "/hub/pruned/../resolve/main/config.json",
        "/hub/pruned/%2e%2e/resolve/main/config.json",
        "/hub/.staging/x/resolve/main/config.json",
        f"/hub/api/models/{NAME}/tree/main/..%2f..",
    ],
)
def test_nothing_but_what_was_published_is_there(path: str, hub: TestClient) -> None:
    assert problem_of(hub.get(path), 404)


def test_links_lead_nowhere(hub: TestClient, settings: Settings, tmp_path: Path) -> None:
    folder = settings.registry_root / NAME / JOB
    assert hub.get(FILE).status_code == 200
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(secret)
    problem_of(hub.get(FILE), 404)
    for place in (folder, folder.parent, folder.parent.parent):
        moved = place.rename(tmp_path / "elsewhere")
        place.symlink_to(moved, target_is_directory=True)
        problem_of(hub.get(f"/hub/{NAME}/resolve/main/config.json"), 404)
        assert hub.get("/hub/api/models").json() == []
        place.unlink()
        moved.rename(place)
    assert hub.get(f"/hub/{NAME}/resolve/main/config.json").status_code == 200


def test_a_browser_saves_files_and_shows_none(hub: TestClient) -> None:
    headers = hub.get(f"/hub/{NAME}/resolve/main/config.json").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"


def test_where_keys_are_required_the_hubs_token_is_one(
    settings: Settings, engine: Engine, hub: TestClient
) -> None:
    read, submit = (
        store.create_key(engine, scope, [scope], max_queued_jobs=1, requests_per_minute=100).secret
        for scope in (Scope.READ, Scope.SUBMIT)
    )
    with TestClient(create_app(settings.model_copy(update={"require_api_keys": True}))) as guarded:
        for path in (FILE, f"/hub/api/models/{NAME}", "/hub/api/models", "/hub/api/whoami-v2"):
            problem_of(guarded.get(path), 401)
            problem_of(guarded.get(path, headers={"Authorization": "Bearer hf_wrong"}), 401)
            problem_of(guarded.get(path, headers={"Authorization": f"Bearer {submit}"}), 403)
            assert guarded.get(path, headers={"Authorization": f"Bearer {read}"}).status_code == 200
        me = guarded.get("/hub/api/whoami-v2", headers={"Authorization": f"Bearer {read}"}).json()
        assert me["name"] == "read"


def test_a_version_whose_manifest_changed_is_none(settings: Settings, hub: TestClient) -> None:
    manifest = settings.registry_root / NAME / JOB / MANIFEST_NAME
    content = manifest.read_text()
    for changed in (content.replace(JOB, LATER_JOB), "no manifest"):
        manifest.chmod(0o644)
        manifest.write_text(changed)
        problem_of(hub.get(FILE), 404)
        assert hub.get("/hub/api/models").json() == []


def test_clients_of_the_hub_find_each_version(
    running_url: str, module_settings: Settings, tiny_llama: Path, tmp_path: Path
) -> None:
    name, jobs = "team/small", [JOB, LATER_JOB, JOB.replace("1", "3")]
    for number, job_id in enumerate(jobs):
        publish(module_settings, tiny_llama, job_id, name, notes=f"notes {number}")
    model, newest = read(module_settings, name)
    oldest, middle = model.versions[2], model.versions[1]
    registry = LocalRegistry(module_settings.registry_root)
    for tag, version in (("stable", oldest), ("gone", middle)):
        set_tag(registry.layout, name, tag, version.commit)
    delete_version(registry, name, middle, "olga", "trained on «the wrong»\ntext")
    answered = ask(
        running_url,
        tmp_path,
        ASK_ABOUT_VERSIONS,
        *(name, "main", "latest", "stable", oldest.commit, oldest.commit[:7], "gone"),
    )
    assert answered["notes"] == ["notes 2", "notes 2", "notes 0", "notes 0", "notes 0", None]
    assert answered["branches"] == {"main": newest.commit}
    assert answered["tags"] == {"stable": oldest.commit}
    assert answered["commits"] == [newest.commit, oldest.commit]
    (refused,) = answered["refused"]
    assert refused.startswith("RevisionNotFoundError")
    assert f"{name} at {middle.commit} was deleted on " in refused
    assert r"by olga: trained on \xabthe wrong\xbb\ntext" in refused


def test_a_model_that_was_deleted_is_said_to_be(settings: Settings, hub: TestClient) -> None:
    _, version = read(settings)
    delete_version(LocalRegistry(settings.registry_root), NAME, version, "olga", None)
    for path in (FILE, f"/hub/api/models/{NAME}", f"/hub/{NAME}/resolve/{version.commit}/config.json"):
        answer = hub.get(path)
        assert "was deleted on" in problem_of(answer, 404)["detail"]
        assert answer.headers["x-error-code"] == "RepoNotFound"
        assert "by olga" in answer.headers["x-error-message"]
    assert hub.get("/hub/api/models").json() == []
