"""Loaded tiny models and windows of their tokens."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.models.registry import describe
from pruning_core.progress import CostModel, Meter
from pruning_core.shelf import Shelf
from tests.tiny_models import VOCABULARY

Load = Callable[[], ResidentModel]
ON_DEVICE = Shelf("device", torch.device("cpu"))


@pytest.fixture(params=["tiny_llama", "tiny_qwen2"])
def folder(request: pytest.FixtureRequest) -> Path:
    """A checkpoint of each family."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def load(folder: Path) -> Load:
    """Give the model anew each time."""
    return lambda: resident(AutoModelForCausalLM.from_pretrained(folder))


@pytest.fixture
def windows() -> Tensor:
    return torch.randint(1, VOCABULARY, (6, 48), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def meter() -> Meter:
    """A meter that nobody reads."""
    return Meter(
        CostModel(head=1.0, gram=1.0, change=1.0, solve=1.0, fit=1.0, fit_tokens=1),
        total=1.0,
        on_event=ignore,
    )


def resident(model: PreTrainedModel) -> ResidentModel:
    family, _ = describe(model.config.to_dict(), "tiny")
    return ResidentModel(model, family)


def transformers_loss(model: PreTrainedModel, windows: Tensor) -> float:
    """The mean of transformers' own loss over windows, one at a time."""
    with torch.no_grad():
        losses = [model(input_ids=window, labels=window, use_cache=False).loss for window in windows.split(1)]
    return torch.stack(losses).double().mean().item()
