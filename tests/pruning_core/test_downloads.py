"""What is downloaded of a model on the Hub, from a server that speaks its protocol, by a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.hub.calls import Hub
from tests.hub.server import run_hub

LOAD = """
import sys, torch
from pruning_core import checkpoint
from pruning_core.errors import RecipeError
from pruning_core.recipe import ModelReference
from pruning_core.subject import find_subject
for allow_pickle in [allowed == "allow" for allowed in sys.argv[1:]]:
    try:
        found = find_subject(
            ModelReference(id="owner/name"), "native", roots=(), allow_pickle=allow_pickle
        )
        print(found.source.reference.revision)
        model = checkpoint.load_model(found.source, "auto", torch.device("cpu"))
        print(sum(weight.double().sum().item() for weight in model.state_dict().values()))
    except RecipeError as error:
        print(type(error).__name__, error.reason)
"""


@pytest.fixture
def repository(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "repository")


def load(hub: Hub, home: Path, *pickles: str) -> list[str]:
    """Load the model, once for each word on pickles, in a process that finds the Hub there; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *(pickles or ["refuse"])],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}


def total(folder: Path) -> float:
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict().values()
    return sum(weight.double().sum().item() for weight in weights)


def test_of_several_copies_of_the_weights_only_those_are_downloaded_that_the_index_names(
    repository: Path, tmp_path: Path
) -> None:
    AutoModelForCausalLM.from_pretrained(repository).save_pretrained(
        tmp_path / "shards", max_shard_size="200KB"
    )
    for file in (tmp_path / "shards").glob("model*"):
        shutil.copy(file, repository)
    (repository / "model.safetensors").rename(repository / "consolidated.safetensors")
    (repository / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with run_hub(repository) as hub:
        _, sum_of_weights = load(hub, tmp_path / "home")
    assert float(sum_of_weights) == pytest.approx(total(repository))
    shards = [file.name for file in (tmp_path / "shards").glob("model-*")]
    weights = [name for name in hub.downloaded if name.endswith((".safetensors", ".bin"))]
    assert len(shards) > 1
    assert sorted(weights) == sorted(shards)


def test_pickled_weights_are_refused_before_they_are_downloaded(repository: Path, tmp_path: Path) -> None:
    expected = total(repository)
    torch.save(weights_of(repository), repository / "pytorch_model.bin")
    (repository / "model.safetensors").unlink()
    with run_hub(repository) as hub:
        said, _, sum_of_weights = load(hub, tmp_path / "home", "refuse", "allow")
    assert said.startswith("PickledWeightsError it has no .safetensors files")
    assert hub.downloaded.count("pytorch_model.bin") == 1
    assert float(sum_of_weights) == pytest.approx(expected)


def test_a_repository_without_weights_is_said(repository: Path, tmp_path: Path) -> None:
    (repository / "model.safetensors").unlink()
    with run_hub(repository) as hub:
        _, said = load(hub, tmp_path / "home")
    assert said == "UnreadableModelError it has no .safetensors files."
