"""Models with code of their own on the Hub, as they lie in the local cache of a machine without a network."""

import shutil
from pathlib import Path

import pytest
import torch

from pruning_core import checkpoint
from pruning_core.errors import UnreachableHubError, UntrustedCodeError
from pruning_core.layered_model import ResidentModel
from pruning_core.model_code import ModelCode
from pruning_core.recipe import ModelReference
from pruning_core.subject import find_subject
from tests.tiny_published import make_published, mark_import

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFERENCE = ModelReference(id="owner/name", revision=COMMIT)
CPU = torch.device("cpu")


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the commit in the cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    make_published("chatglm", tmp_path / "made")
    return shutil.copytree(tmp_path / "made", repository / "snapshots" / COMMIT)


@pytest.mark.parametrize("revision", [COMMIT, "main", None])
def test_a_commit_that_is_on_the_list_may_run_however_it_is_named(
    snapshot: Path, revision: str | None
) -> None:
    asked = ModelReference(id="owner/name", revision=revision)
    found = find_subject(asked, "in_place", roots=(), trusted=[f"owner/name@{COMMIT}"])
    assert found.source.reference == REFERENCE
    marker = mark_import(snapshot)
    model = checkpoint.load_model(found.source, "auto", CPU)
    assert type(model).__name__ == "ChatGLMForConditionalGeneration"
    assert marker.exists()


def test_a_commit_that_is_not_on_the_list_may_not(snapshot: Path) -> None:
    another = f"owner/name@{COMMIT[::-1]}"
    with pytest.raises(UntrustedCodeError, match=f"add owner/name@{COMMIT} to SECATEUR_TRUSTED_REMOTE_CODE"):
        find_subject(REFERENCE, "in_place", roots=(), trusted=[another])


def test_the_twin_is_made_of_it_without_running_its_code(snapshot: Path, tmp_path: Path) -> None:
    marker = mark_import(snapshot)
    source = find_subject(REFERENCE, "native", roots=()).source
    assert type(checkpoint.load_model(source, "auto", CPU)).__name__ == "GlmForCausalLM"
    assert checkpoint.load_tokenizer(source)("some text")["input_ids"]
    assert not marker.exists()


def test_a_hub_that_does_not_answer_is_said(snapshot: Path) -> None:
    source = find_subject(REFERENCE, "native", roots=()).source
    shutil.rmtree(snapshot)
    with pytest.raises(UnreachableHubError, match="not in the local cache"):
        checkpoint.load_model(source, "auto", CPU)


def test_its_code_goes_with_the_result(snapshot: Path, tmp_path: Path) -> None:
    trusted = [f"owner/name@{COMMIT}"]
    subject = find_subject(REFERENCE, "in_place", roots=(), trusted=trusted)
    source = subject.source
    model = ResidentModel(checkpoint.load_model(source, "auto", CPU), subject.family)
    checkpoint.save(model, checkpoint.load_tokenizer(source), tmp_path / "out", source, 10**9, companions={})
    assert ModelCode.read(tmp_path / "out") == ModelCode.read(snapshot)
