"""A checkpoint appears whole or not at all, once, under a name that is its own."""

import hashlib
import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.local import GivenUpError, LocalRegistry, NameTakenError, NotWritableError
from registry.manifest import MANIFEST_NAME, MANIFEST_NAMES
from tests.registry.conftest import JOB, NAME, OTHER_JOB, stage


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_was_staged_appears_with_a_manifest_whose_digests_are_right(registry: LocalRegistry) -> None:
    stage(registry)
    artifact = registry.publish(JOB, JOB, NAME)
    folder = Path(artifact.location)
    assert folder == registry.root / NAME / JOB
    assert files_below(folder) == {"config.json", "deeper/model.safetensors", *MANIFEST_NAMES}
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    assert (manifest["name"], manifest["job_id"]) == (NAME, JOB)
    assert [file["path"] for file in manifest["files"]] == ["config.json", "deeper/model.safetensors"]
    for file in manifest["files"]:
        content = (folder / file["path"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_artifact_says_what_the_manifest_says(registry: LocalRegistry) -> None:
    stage(registry)
    artifact = registry.publish(JOB, JOB, NAME)
    manifest = json.loads((registry.root / NAME / JOB / MANIFEST_NAME).read_text())
    assert artifact.name == NAME
    assert artifact.model_dump()["files"] == manifest["files"]
    assert artifact.bytes == sum(file["bytes"] for file in manifest["files"]) == len("{}") + len("weights")


def test_everyone_may_read_what_is_published_and_nobody_may_write(registry: LocalRegistry) -> None:
    stage(registry)
    folder = Path(registry.publish(JOB, JOB, NAME).location)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o444)


def test_nothing_stays_in_staging(registry: LocalRegistry) -> None:
    stage(registry)
    registry.publish(JOB, JOB, NAME)
    assert list((registry.root / ".staging").iterdir()) == []


def test_publishing_again_for_the_same_job_gives_what_was_published_first(registry: LocalRegistry) -> None:
    stage(registry, content="first")
    first = registry.publish(JOB, JOB, NAME)
    staged = stage(registry, content="second")
    assert registry.publish(JOB, JOB, NAME) == first
    assert (Path(first.location) / "deeper" / "model.safetensors").read_text() == "first"
    assert not staged.exists()


def test_something_else_in_its_place_is_refused_and_stays(registry: LocalRegistry) -> None:
    stage(registry)
    place = registry.root / NAME / JOB
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("keep")
    with pytest.raises(NameTakenError, match="without a manifest"):
        registry.publish(JOB, JOB, NAME)
    assert files_below(place) == {"notes.txt"}


def test_of_two_claims_of_a_job_that_publish_at_once_one_is_adopted(registry: LocalRegistry) -> None:
    claims = ["first", "second"]
    for claim in claims:
        stage(registry, claim, content=claim)
    with ThreadPoolExecutor(2) as pool:
        artifacts = list(pool.map(lambda claim: registry.publish(claim, JOB, NAME), claims))
    assert artifacts[0] == artifacts[1]
    assert (Path(artifacts[0].location) / "deeper" / "model.safetensors").read_text() in claims
    assert [folder.name for folder in (registry.root / NAME).iterdir()] == [JOB]
    assert registry.claims() == []


def test_of_two_jobs_that_publish_at_once_each_makes_a_version(registry: LocalRegistry) -> None:
    jobs = [JOB, OTHER_JOB]
    for job_id in jobs:
        stage(registry, job_id, content=job_id)
    with ThreadPoolExecutor(2) as pool:
        artifacts = list(pool.map(lambda job_id: registry.publish(job_id, job_id, NAME), jobs))
    for job_id, artifact in zip(jobs, artifacts, strict=True):
        assert (Path(artifact.location) / "deeper" / "model.safetensors").read_text() == job_id


def test_what_an_earlier_attempt_staged_is_wiped(registry: LocalRegistry) -> None:
    (stage(registry) / "model-00002-of-00002.safetensors").write_text("half")
    folder = registry.stage(JOB)
    assert list(folder.iterdir()) == []


def test_a_claim_that_was_given_up_stages_apart_from_the_next(registry: LocalRegistry) -> None:
    lost = stage(registry, "lost", content="half")
    following = stage(registry, "next", content="whole")
    # Who does not know yet that the job is another's goes on writing, and publishes first.
    (lost / "more").write_text("late")
    assert files_below(following) == {"config.json", "deeper/model.safetensors"}
    first = registry.publish("lost", JOB, NAME)
    assert registry.publish("next", JOB, NAME) == first
    assert list(registry.staging_root.iterdir()) == []


def test_what_was_discarded_under_the_hands_of_its_writer_is_not_published(registry: LocalRegistry) -> None:
    folder = stage(registry)
    registry.discard(JOB)
    # As `save_pretrained` does: of what came before, nothing is in it.
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(GivenUpError, match=JOB):
        registry.publish(JOB, JOB, NAME)
    assert not (registry.root / NAME / JOB).exists()
    registry.discard(JOB)
    assert registry.claims() == []


def test_what_is_discarded_while_it_is_published_is_not_published(
    registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(registry)
    monkeypatch.setattr("registry.local.sync_tree", lambda _: registry.discard(JOB))
    with pytest.raises(FileNotFoundError):
        registry.publish(JOB, JOB, NAME)
    assert not (registry.root / NAME / JOB).exists()


def test_what_a_killed_discard_left_is_discarded_by_the_next(registry: LocalRegistry) -> None:
    stage(registry)
    (registry.staging_root / JOB).rename(registry.staging_root / f"{JOB}.given-up")
    stage(registry)
    assert registry.claims() == [JOB]
    registry.discard(JOB)
    assert list(registry.staging_root.iterdir()) == []


def test_what_is_discarded_is_gone_and_discarding_nothing_is_fine(registry: LocalRegistry) -> None:
    folder = stage(registry)
    registry.discard(JOB)
    registry.discard(JOB)
    assert not folder.exists()


def test_a_root_that_is_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("in the way")
    registry = LocalRegistry(tmp_path / "registry")
    with pytest.raises(
        NotWritableError, match=rf"{tmp_path}/registry cannot be written to \(Not a directory\)"
    ):
        registry.require_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_that_is_read_only_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NotWritableError, match="Permission denied"):
        LocalRegistry(tmp_path / "registry").require_writable()
    tmp_path.chmod(0o700)


def test_looking_whether_it_is_writable_leaves_nothing_and_bears_company(registry: LocalRegistry) -> None:
    failures: list[Exception] = []

    def look() -> None:
        for _ in range(50):
            try:
                registry.require_writable()
            except NotWritableError as error:
                failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list((registry.root / ".staging").iterdir()) == []
