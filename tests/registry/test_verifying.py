"""One bit is enough."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from registry.deleting import delete_version
from registry.local import LocalRegistry
from registry.manifest import COMMIT_NAME, MANIFEST_NAME
from registry.reading import find_model
from registry.verifying import Finding, Verification
from tests.registry.conftest import JOB, NAME, OTHER_JOB, findings, stage

WEIGHTS = "deeper/model.safetensors"
FILES = [WEIGHTS, "config.json", MANIFEST_NAME, COMMIT_NAME]


@pytest.fixture
def folder(registry: LocalRegistry) -> Path:
    stage(registry)
    return Path(registry.publish(JOB, JOB, NAME).location)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.chmod(0o644)
    path.write_bytes(content)


def test_what_is_as_it_was_published_is_not_found(registry: LocalRegistry, folder: Path) -> None:
    assert findings(registry) == []


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_of_any_file_is_found(registry: LocalRegistry, folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    for bit in range(0, len(content) * 8, max(1, len(content) // 5)):
        flip(path, bit)
        (finding,) = findings(registry)
        assert finding.path == (MANIFEST_NAME if name == COMMIT_NAME else name)
        assert finding.expected != finding.found
        flip(path, bit)
        assert findings(registry) == []


def test_what_is_found_has_both_digests(registry: LocalRegistry, folder: Path) -> None:
    flip(folder / WEIGHTS, 3)
    changed = bytes([ord("w") ^ 8]) + b"eights"
    assert findings(registry) == [Finding(folder, WEIGHTS, sha256(b"weights"), sha256(changed))]


def test_what_two_versions_share_is_found_in_both_and_read_once(
    registry: LocalRegistry, folder: Path
) -> None:
    stage(registry, OTHER_JOB)
    other = Path(registry.publish(OTHER_JOB, OTHER_JOB, NAME).location)
    flip(folder / WEIGHTS, 0)
    verification = Verification(registry.root)
    assert {finding.version for finding in verification.verify(NAME)} == {folder, other}
    assert verification.bytes == len("weights") + len("{}")
    assert verification.versions == 2


def test_what_is_missing_or_was_added_is_found(registry: LocalRegistry, folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "deeper" / "more.bin").write_text("more")
    (folder / WEIGHTS).rename(tmp_path / "weights")
    (folder / WEIGHTS).symlink_to(tmp_path / "weights")
    assert findings(registry) == [
        Finding(folder, "config.json", sha256(b"{}"), "missing"),
        Finding(folder, WEIGHTS, sha256(b"weights"), "not a file"),
        Finding(folder, "deeper/more.bin", "no such file", sha256(b"more")),
    ]


@pytest.mark.parametrize("lost", [(MANIFEST_NAME,), (COMMIT_NAME,), (MANIFEST_NAME, COMMIT_NAME)])
def test_a_lost_manifest_is_found(registry: LocalRegistry, folder: Path, lost: tuple[str, ...]) -> None:
    for name in lost:
        (folder / name).unlink()
    (finding,) = findings(registry)
    assert (finding.version, finding.path) == (folder, MANIFEST_NAME)


def test_what_is_deleted_while_it_is_verified_is_not_found(registry: LocalRegistry, folder: Path) -> None:
    stage(registry, OTHER_JOB)
    registry.publish(OTHER_JOB, OTHER_JOB, NAME)
    model = find_model(registry.root, NAME)
    assert model is not None
    verification = Verification(registry.root)
    flip(folder / WEIGHTS, 0)
    flip(folder.with_name(OTHER_JOB) / "config.json", 0)
    found = verification.verify(NAME)
    assert next(found).version == folder
    for version in model.versions:
        delete_version(registry, NAME, version, "somebody", None)
    assert {finding.version for finding in found} <= {folder}
    assert verification.versions == 1


@pytest.mark.skipif(shutil.which("sha1sum") is None, reason="there is no sha1sum")
def test_the_manifests_digest_is_one_that_other_programs_check(registry: LocalRegistry, folder: Path) -> None:
    check = ["sha1sum", "--check", "--strict", COMMIT_NAME]
    assert subprocess.run(check, cwd=folder, check=False).returncode == 0
    flip(folder / MANIFEST_NAME, 100)
    assert subprocess.run(check, cwd=folder, check=False).returncode != 0
