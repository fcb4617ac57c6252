"""A model visited layer by layer is the model."""

import pytest
import torch
from torch import Tensor

from pruning_core import budgets
from pruning_core.perplexity import mean_loss
from pruning_core.progress import Meter
from tests.pruning_core.conftest import ON_DEVICE, Load, transformers_loss


def test_layer_by_layer_gives_the_same_logits_as_the_whole(load: Load, windows: Tensor) -> None:
    model = load()
    stream = model.embed(windows)
    with torch.no_grad():
        for index in range(len(model)):
            with model.open(index) as layer:
                stream.hidden = stream.run(layer, index)
        whole = model.model(input_ids=windows).logits
    assert torch.allclose(model.logits(stream.hidden)[0], whole.flatten(0, 1), rtol=1e-4, atol=1e-4)


def test_visiting_leaves_the_model_as_it_was(load: Load, windows: Tensor) -> None:
    model = load()
    with torch.no_grad():
        before = model.model(input_ids=windows).logits
        model.logits(model.embed(windows).hidden)
        assert model.model(input_ids=windows).logits.equal(before)


def test_the_forwards_come_back_when_the_model_fails(load: Load) -> None:
    model = load()
    with pytest.raises(IndexError):
        model.embed(torch.tensor([[10**6]]))
    assert all("forward" not in layer.__dict__ for layer in model._layers)


def test_the_mean_loss_is_that_of_transformers(load: Load, windows: Tensor, meter: Meter) -> None:
    model = load()
    assert mean_loss(model, windows, meter, ON_DEVICE) == pytest.approx(
        transformers_loss(model.model, windows), rel=1e-6
    )


def test_chunks_of_logits_change_nothing(
    load: Load, windows: Tensor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()
    at_once = mean_loss(model, windows, meter, ON_DEVICE)
    monkeypatch.setattr(budgets, "LOGITS_PER_CHUNK", 5 * model.config.vocab_size)
    assert mean_loss(model, windows, meter, ON_DEVICE) == pytest.approx(at_once, rel=1e-6)


def test_batches_of_windows_change_nothing(
    load: Load, windows: Tensor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()
    at_once = mean_loss(model, windows, meter, ON_DEVICE)
    monkeypatch.setattr("pruning_core.budgets.TOKENS_PER_CPU_BATCH", 2 * windows.shape[1])
    assert mean_loss(model, windows, meter, ON_DEVICE) == pytest.approx(at_once, rel=1e-6)
