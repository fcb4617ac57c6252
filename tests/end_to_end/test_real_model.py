"""SmolLM2-135M-Instruct from its GGUF file: what the demo prunes, with less text."""

from pathlib import Path

import pytest
import torch

from pruning_core import checkpoint, parse_recipe, prune
from pruning_core.calibration import tokenize
from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.model_source import find_model
from pruning_core.models.mlp import MlpChannels
from pruning_core.models.registry import describe
from pruning_core.osscar.elimination import eliminate
from pruning_core.perplexity import mean_loss
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import ModelReference
from pruning_core.repair.regression import damp
from pruning_core.text_source import find_text
from tests.pruning_core.conftest import ON_DEVICE, transformers_loss
from tests.pruning_core.oracles import downdate_one_at_a_time, objective, paper


@pytest.fixture(scope="module")
def smollm2(gguf: Path) -> ResidentModel:
    source = find_model(ModelReference(id=str(gguf)), roots=None)
    family, _ = describe(source.config, str(gguf))
    return ResidentModel(checkpoint.load_model(source, "auto", torch.device("cpu")), family)


@pytest.fixture(scope="module")
def windows(gguf: Path) -> torch.Tensor:
    tokenizer = checkpoint.load_tokenizer(find_model(ModelReference(id=str(gguf)), roots=None))
    text = find_text("text", "builtin", "evaluation", roots=None).read()
    return torch.tensor(tokenize(text, tokenizer)[: 4 * 256]).view(4, 256)


def test_the_header_tells_what_transformers_loads(smollm2: ResidentModel, gguf: Path) -> None:
    source = find_model(ModelReference(id=str(gguf)), roots=None)
    _, config = describe(source.config, str(gguf))
    theirs = smollm2.config.to_dict()
    assert {name: theirs[name] for name in config if name != "head_dim"} == {
        name: value for name, value in config.items() if name != "head_dim"
    }
    assert smollm2.model.num_parameters() == smollm2.family.count(config).total(30, 1536) == 134_515_008


def test_its_loss_is_that_of_transformers(smollm2: ResidentModel, windows: torch.Tensor) -> None:
    meter = Meter(CostModel(head=8, gram=1, change=1, solve=1, fit=1, fit_tokens=1), 1.0, ignore)
    ours = mean_loss(smollm2, windows[:2], meter, ON_DEVICE)
    assert ours == pytest.approx(transformers_loss(smollm2.model, windows[:2]), rel=1e-6)


def test_osscar_beats_the_largest_channels_on_a_real_layer(
    smollm2: ResidentModel, windows: torch.Tensor
) -> None:
    layer = smollm2.model.model.layers[10]
    channels = MlpChannels(layer, smollm2.family.mlp)
    gram = gram_of(smollm2, channels.consumer.module, windows)
    weight = channels.consumer_weight().double()
    hessian = damp(gram, 0.01)
    targets = hessian @ weight
    ours = objective(hessian, targets, eliminate(hessian, weight, 1152).kept.tolist())
    scores = gram.diagonal().sqrt() * weight.norm(dim=1)
    largest = objective(hessian, targets, scores.topk(1152).indices.sort().values.tolist())
    everything = objective(hessian, targets, list(range(1536)))
    # Of what the best choice of the two loses, ours loses clearly less.
    assert ours - everything < 0.95 * (largest - everything)
    assert paper(gram, weight, keep=1152, damping=0.01).refit.error < 0.1


@pytest.mark.parametrize(("index", "damping"), [(0, 1e-6), (29, 1e-2)])
def test_on_a_real_gram_matrix_it_keeps_what_naive_downdates_in_float64_keep(
    smollm2: ResidentModel, windows: torch.Tensor, index: int, damping: float
) -> None:
    channels = MlpChannels(smollm2.model.model.layers[index], smollm2.family.mlp)
    gram = gram_of(smollm2, channels.consumer.module, windows)
    weight = channels.consumer_weight().double()
    hessian = damp(gram, damping)
    targets = hessian @ weight
    expected = downdate_one_at_a_time(hessian, weight, keep=1472)
    exact = eliminate(hessian, weight, keep=1472).kept.tolist()
    assert exact == expected
    everything, wanted = (objective(hessian, targets, kept) for kept in (list(range(1536)), expected))
    # In whatever precision `narrow` takes, it loses no more than the oracle.
    narrowed = paper(gram, weight, keep=1472, damping=damping)
    lost = objective(hessian, targets, narrowed.kept.tolist()) - everything
    assert lost <= (wanted - everything) * (1 + 1e-4)


def gram_of(model: ResidentModel, consumer: torch.nn.Linear, windows: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = consumer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, 1)))
    with torch.no_grad():
        model.model(input_ids=windows)
    hook.remove()
    activations = seen[0].double()
    return activations.T @ activations


def test_a_gguf_file_becomes_a_checkpoint_that_loads(gguf: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(
        {
            "model": str(gguf),
            "method": "depth",
            "options": {"layers": list(range(1, 28)), "heal": "boundary", "producer_steps": 0},
            "calibration": {"dataset": "builtin", "samples": 4, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 1, "sequence_length": 64},
        }
    )
    result = prune(recipe, tmp_path)
    source = find_model(ModelReference(id=str(tmp_path)), roots=None)
    family, _ = describe(source.config, str(tmp_path))
    again = ResidentModel(checkpoint.load_model(source, "auto", torch.device("cpu")), family)
    tokenizer = checkpoint.load_tokenizer(source)
    text = find_text("text", "builtin", "evaluation", roots=None).read()
    tokens = torch.tensor(tokenize(text, tokenizer)[:64])[None]
    loss = transformers_loss(again.model, tokens)
    assert torch.tensor(loss).exp().item() == pytest.approx(result.perplexity_after, rel=1e-4)
    assert len(again) == 3
