"""What pruning costs small models that were trained: families that the real model of the other tests is not of."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from pruning_core import parse_recipe, prune
from pruning_core.calibration import evaluation_windows
from pruning_core.models.layer_mlp import mlp_of
from pruning_core.recipe import EvaluationText
from pruning_core.text_source import find_text
from tests.pruning_core.conftest import resident, transformers_loss
from tests.trained_models import train_tiny

STEPS = {"opt": 200, "phi3": 150, "cohere": 150, "mixtral": 100}
IN_EVERY_RUN = ("opt", "mixtral")
"""Biases and no gate; experts. `--every-family` runs all."""

KEEP = 128
MEASURED = {"dataset": "builtin", "samples": 16, "sequence_length": 64}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    everything = metafunc.config.getoption("every_family")
    metafunc.parametrize("trained", list(STEPS) if everything else IN_EVERY_RUN, indirect=True)


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(request.param, tmp_path_factory.mktemp(request.param), STEPS[request.param])


def perplexity(folder: Path, model: torch.nn.Module) -> float:
    text = find_text("evaluation", "builtin", "evaluation", roots=None)
    windows = evaluation_windows(
        EvaluationText.model_validate(MEASURED), text, AutoTokenizer.from_pretrained(folder)
    ).windows
    return math.exp(transformers_loss(model, windows))


@torch.no_grad()
def keep_the_largest(folder: Path) -> torch.nn.Module:
    """Keep in each MLP the channels whose weights are largest."""
    model = resident(AutoModelForCausalLM.from_pretrained(folder))
    for layer in model._layers:
        mlp = mlp_of(layer, model.family, model.config)
        for channels in mlp.parts:
            columns = [matrix[: channels.inputs].norm(dim=0) for matrix in channels.read_producers()]
            sizes: Tensor = channels.consumer_weight().norm(dim=1) * torch.stack(columns).prod(dim=0)
            channels.narrow(sizes.topk(KEEP).indices.sort().values)
        mlp.write()
    return model.model


def test_osscar_costs_little_and_less_than_keeping_the_largest_channels(
    trained: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(
        {
            "model": str(trained),
            "method": "osscar",
            "ratio": 0.5,
            "calibration": {"dataset": "builtin", "samples": 48, "sequence_length": 64},
            "evaluation": MEASURED,
        }
    )
    result = prune(recipe, tmp_path / "out")
    assert result.plan.intermediate_size_after == KEEP
    dense, largest = (
        perplexity(trained, model)
        for model in (AutoModelForCausalLM.from_pretrained(trained), keep_the_largest(trained))
    )
    assert result.perplexity_before == pytest.approx(dense, rel=1e-4)
    # It has 512 words: one that knows nothing has a perplexity of as many.
    assert dense < 100
    assert dense * 0.95 < result.perplexity_after < largest
    assert result.perplexity_after - dense < 0.5 * (largest - dense)
