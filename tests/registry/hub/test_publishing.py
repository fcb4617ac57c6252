"""A checkpoint becomes one commit, by the real client and a server that speaks the Hub's protocol."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download

from registry.hub.errors import HubChangedError
from registry.manifest import describe_files
from tests.hub.calls import Hub
from tests.registry.hub.conftest import JOB, REPO, Planting, Publishing

OTHER_JOB = "00000000-0000-4000-8000-000000000000"


def commits(hub: Hub, branch: str = "main") -> list[str]:
    """Titles, from the newest on."""
    return [commit.title for commit in hub.repositories[REPO].history(branch)]


def test_what_was_published_is_downloaded_bit_for_bit(
    publishing: Publishing, hub: Hub, checkpoint: Path, tmp_path: Path
) -> None:
    artifact = publishing.all()
    assert hub.repositories[REPO].private
    assert commits(hub) == ["tiny, pruned by osscar", "initial commit"]
    copy = snapshot_download(artifact.location, revision=artifact.revision, local_dir=tmp_path / "copy")
    (Path(copy) / ".gitattributes").unlink()
    downloaded = [file for file in describe_files(Path(copy)) if not file.path.startswith(".cache")]
    assert downloaded == artifact.files == describe_files(checkpoint)
    assert artifact.bytes == sum(file.bytes for file in artifact.files)
    assert (artifact.name, artifact.url) == (REPO, f"{hub.url}/{REPO}/tree/{artifact.revision}")


def test_large_files_come_in_parts_and_progress_counts_every_byte_once(
    publishing: Publishing, hub: Hub
) -> None:
    artifact = publishing.all()
    assert hub.asked("PUT", "/storage/[0-9a-f]+/[123]$") == 3
    assert hub.asked("PUT", "/storage/[0-9a-f]+$") == 1
    done = [done for done, _ in publishing.progress]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, artifact.bytes)
    assert {total for _, total in publishing.progress} == {artifact.bytes}
    assert len([one for one in done if 0 < one < 256_000]) >= 3


def test_a_job_publishes_once_however_often_it_begins(
    publishing: Publishing, hub: Hub, checkpoint: Path
) -> None:
    first = publishing.all()
    # An attempt elsewhere prunes the same weights, and dates its card anew.
    (checkpoint / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Smaller, later\n")
    hub.requests.clear()
    assert publishing.all() == first
    assert commits(hub) == ["tiny, pruned by osscar", "initial commit"]
    assert hub.asked("PUT", ".") == hub.asked("POST", "/commit/") == 0


def test_another_job_commits_on_top_and_uploads_nothing_that_is_there(
    publishing: Publishing, hub: Hub, checkpoint: Path
) -> None:
    publishing.all()
    (checkpoint / "README.md").write_text("# Another")
    hub.requests.clear()
    second = publishing.all(OTHER_JOB)
    assert hub.asked("PUT", ".") == 0
    assert commits(hub) == ["tiny, pruned by osscar", "tiny, pruned by osscar", "initial commit"]
    assert hub.repositories[REPO].resolve("main").id == second.revision


def test_nothing_of_an_earlier_checkpoint_is_left_for_a_loader_to_find(
    publishing: Publishing, hub: Hub
) -> None:
    hub.seed(
        REPO,
        private=True,
        **dict.fromkeys(("model.safetensors", "merges.txt", "LICENSE.txt", "notes.md", ".gitignore"), "old"),
    )
    artifact = publishing.all()
    left = hub.repositories[REPO].resolve("main").files.keys() - {file.path for file in artifact.files}
    assert left == {".gitattributes", "LICENSE.txt", "notes.md", ".gitignore"}


def test_what_the_repository_ignores_is_published_all_the_same(publishing: Publishing, hub: Hub) -> None:
    hub.seed(REPO, private=True, **{".gitignore": "*.safetensors\n*.json\n"})
    assert len(publishing.all().files) == 4


def test_a_branch_is_made_and_committed_to(publishing: Publishing, hub: Hub) -> None:
    publishing.all(revision="pruned/half")
    assert commits(hub, "pruned/half") == ["tiny, pruned by osscar", "initial commit"]
    assert commits(hub) == ["initial commit"]


def test_a_repository_that_changed_meanwhile_is_not_overwritten(publishing: Publishing, hub: Hub) -> None:
    parent = publishing.begin()
    changed = hub.seed(REPO, **{"config.json": "somebody's"})
    with pytest.raises(HubChangedError) as refused:
        publishing.finish(parent)
    assert parent in refused.value.reason
    assert changed in refused.value.reason
    assert "overwrite: true" in refused.value.remedy
    assert hub.repositories[REPO].resolve("main").id == changed


def test_it_is_if_that_was_asked_for(publishing: Publishing, hub: Hub) -> None:
    parent = publishing.begin()
    hub.seed(REPO, **{"config.json": "somebody's"})
    artifact = publishing.finish(parent, overwrite=True)
    assert commits(hub) == ["tiny, pruned by osscar", "Somebody's", "initial commit"]
    assert hub.repositories[REPO].resolve("main").id == artifact.revision


def test_overwriting_takes_what_comes_at_the_very_moment_for_its_parent(
    publishing: Publishing, hub: Hub, plant: Planting
) -> None:
    parent = publishing.begin()
    plant("POST", "/commit/", before=lambda: hub.seed(REPO, **{"notes.md": "just now"}))
    publishing.finish(parent, overwrite=True)
    assert commits(hub) == ["tiny, pruned by osscar", "Somebody's", "initial commit"]


def test_the_commit_says_which_job_made_it(publishing: Publishing) -> None:
    publishing.all()
    newest = HfApi().list_repo_commits(REPO)[0]
    assert newest.message == f"Secateur-Job: {JOB}"
