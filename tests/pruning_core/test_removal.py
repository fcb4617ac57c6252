"""Decoder layers taken out, and what counts them."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pruning_core.depth.removal import remove_layers
from tests.pruning_core.conftest import resident


@pytest.mark.parametrize("removed", [(0,), (1, 2), (3,), (0, 1, 2)])
def test_everything_that_counts_layers_follows(
    folder: Path, removed: tuple[int, ...], tmp_path: Path
) -> None:
    model = resident(AutoModelForCausalLM.from_pretrained(folder))
    remove_layers(model, removed)
    kept = 4 - len(removed)
    assert model.config.num_hidden_layers == kept
    assert [layer.self_attn.layer_idx for layer in model._layers] == list(range(kept))
    if model.family.per_layer_lists:
        assert len(model.config.layer_types) == kept

    model.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.arange(1, 20)[None]
    with torch.no_grad():
        assert again(tokens).logits.equal(model.model(tokens).logits)


def test_the_cut_model_generates_with_a_cache_in_a_padded_batch(folder: Path) -> None:
    model = resident(AutoModelForCausalLM.from_pretrained(folder))
    remove_layers(model, (1,))
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    alone = tokenizer(["The quick brown fox"], return_tensors="pt")
    batch = tokenizer(["The quick brown fox", "a"], return_tensors="pt", padding=True)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    cached = model.model.generate(**alone, **options)
    uncached = model.model.generate(**alone, **options, use_cache=False)
    padded = model.model.generate(**batch, **options)
    assert cached.equal(uncached)
    assert padded[0, -8:].equal(cached[0, -8:])
