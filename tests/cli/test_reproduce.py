"""`secateur reproduce`: the same request gives the same checkpoint, and what is not the same is said."""

import json
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from tests.cli.invoking import invoke
from tests.hub.client import talk_to
from tests.hub.server import run_hub

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Give this process its threads back: the command takes as many as the pruning had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(tiny_llama, tmp_path_factory.mktemp("reproduce") / "base")


@pytest.fixture(scope="module")
def text(base: Path) -> Path:
    file = base.parent / "text.txt"
    file.write_text("What was said once is said again, and then it is not the same. " * 200)
    return file


@pytest.fixture(scope="module")
def pruned(base: Path, text: Path) -> Path:
    return prune(str(base), base.parent / "pruned", "--evaluation", str(text))


@pytest.fixture
def checkpoint(pruned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pruned, tmp_path / "checkpoint")


def prune(model: str, output: Path, *arguments: str, method: str = "osscar") -> Path:
    ratio = {"osscar": "0.5", "depth": "0.25"}[method]
    invoke(
        *("prune", model, "--output", str(output), "--method", method, "--ratio", ratio),
        *("--calibration", "builtin", "--samples", "8", "--sequence-length", "64"),
        *("--evaluation", "builtin", "--evaluation-sequence-length", "64", "--evaluation-samples", "2"),
        *arguments,
    )
    return output


def reproduce(folder: Path, code: int = 0) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(invoke("reproduce", str(folder), "--json", code=code).stdout)
    return said


def change(folder: Path, change: Change) -> None:
    record = json.loads((folder / "secateur.json").read_text())
    change(record)
    (folder / "secateur.json").write_text(json.dumps(record))


def refusal(folder: Path) -> str:
    return " ".join(invoke("reproduce", str(folder), code=2).stderr.split())


def test_the_same_comes_out(checkpoint: Path) -> None:
    # As the registry and the Hub leave them there.
    (checkpoint / "manifest.json").write_text("{}")
    (checkpoint / ".gitattributes").write_text("")
    said = invoke("reproduce", str(checkpoint)).stdout
    assert said.splitlines()[-1] == "Reproduced: 5 files, bit for bit."
    assert "the same  versions and machine" in said
    assert "the same  model.safetensors  " in said
    assert "differs" not in said


def test_the_same_comes_out_of_a_search_for_layers(base: Path, tmp_path: Path) -> None:
    folder = prune(str(base), tmp_path / "shallower", "--shard-size", "200KB", method="depth")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert reproduce(folder) == {"reproduced": True, "files": [], "numbers": [], "conditions": []}


def test_it_runs_as_it_ran_then_whatever_is_usual_here(checkpoint: Path) -> None:
    recorded = json.loads((checkpoint / "secateur.json").read_text())["machine"]["threads"]
    torch.set_num_threads(recorded + 1)
    assert reproduce(checkpoint)["conditions"] == []
    assert torch.get_num_threads() == recorded


def test_a_flipped_bit_is_found_before_anything_is_run(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.pruning.prune", None)
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    said = invoke("reproduce", str(checkpoint), code=1).stdout
    assert said.startswith("damaged   model.safetensors  ")
    assert "Not reproduced: 1 of 5 files" in said
    (checkpoint / "model.safetensors").unlink()
    (damage,) = reproduce(checkpoint, code=1)["damaged"]
    assert (damage["what"], damage["now"]) == ("model.safetensors", None)


def test_another_seed_gives_other_weights_and_other_numbers(checkpoint: Path) -> None:
    change(checkpoint, lambda record: record["recipe"]["calibration"].update(seed=1))
    said = reproduce(checkpoint, code=1)
    assert said["reproduced"] is False
    assert [each["what"] for each in said["files"]] == ["model.safetensors"]
    assert "perplexity_after" in {each["what"] for each in said["numbers"]}
    assert "perplexity_before" not in {each["what"] for each in said["numbers"]}
    assert said["conditions"] == []


def test_other_weights_under_other_versions_are_explained_by_them(checkpoint: Path) -> None:
    def then(record: dict[str, Any]) -> None:
        record["recipe"]["calibration"]["seed"] = 1
        record["versions"]["torch"] = "2.6.0"

    change(checkpoint, then)
    said = invoke("reproduce", str(checkpoint), code=1).stdout
    assert f"differs   versions.torch  2.6.0 → {torch.__version__}" in said
    assert "differs   model.safetensors  " in said
    assert "promised for the same versions and machine only" in said


def test_a_model_that_changed_since_is_said(base: Path, tmp_path: Path) -> None:
    changing = shutil.copytree(base, tmp_path / "changing")
    folder = prune(str(changing), tmp_path / "smaller")
    tokenizer = changing / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert f"model = '{changing}': it has changed since it was pruned: tokenizer_config.json" in refusal(
        folder
    )
    shutil.rmtree(changing)
    assert f"model = '{changing}': there is no folder with a config.json here" in refusal(folder)


def test_a_text_that_changed_since_is_said(checkpoint: Path, text: Path) -> None:
    before = text.read_text()
    text.write_text(before + "And again.")
    assert f"evaluation.dataset = '{text}': this text has changed since" in refusal(checkpoint)
    text.write_text(before)
    change(checkpoint, lambda record: record["calibration"].update(sha256="0" * 64))
    said = refusal(checkpoint)
    assert "calibration.dataset = 'builtin': this text has changed since" in said
    assert said.endswith(f"Use Python {platform.python_version()}.")


def test_a_device_that_is_not_here_is_said(checkpoint: Path) -> None:
    def then(record: dict[str, Any]) -> None:
        record["device"] = "cuda:63"
        record["machine"]["gpu"] = "NVIDIA H100"

    change(checkpoint, then)
    assert "pruned on cuda:63 (NVIDIA H100), which this machine does not have" in refusal(checkpoint)


def test_a_folder_without_a_record_or_with_a_broken_one_is_said(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "secateur.json").write_text("{")
    assert f"{checkpoint}/secateur.json is broken" in refusal(checkpoint)
    assert "has no secateur.json" in refusal(tmp_path)


def test_a_model_of_the_hub_is_pinned_and_its_license_comes_along(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    published = shutil.copytree(base, tmp_path / "published")
    (published / "README.md").write_text("---\nlicense: llama3.1\nlanguage: en\n---\n# A model\n")
    (published / "LICENSE").write_text("terms")
    (published / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with run_hub(published) as hub:
        talk_to(hub, monkeypatch)
        monkeypatch.delenv("HF_TOKEN")
        folder = prune("owner/name", tmp_path / "out")
        commit = hub.seed("owner/name", **{"config.json": "{}"})
        record = json.loads((folder / "secateur.json").read_text())
        pinned = record["recipe"]["model"]["revision"]
        assert len(pinned) == 40
        assert pinned != commit
        assert record["base_digests"] == {}
        # The branch is at a commit by now that could not even be loaded.
        assert reproduce(folder)["reproduced"] is True
    card = ModelCard.load(folder / "README.md").data
    assert (card.base_model, card.license, card.language) == ("owner/name", "llama3.1", "en")
    assert (folder / "LICENSE").read_text() == "terms"
    assert (folder / "chat_template.jinja").exists()
