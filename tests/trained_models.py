"""Tiny models that learned something, for tests in which perplexity must mean something."""

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny_models import make_tiny

WINDOW, BATCH, LEARNING_RATE = 64, 16, 1e-2
SIZES = {"hidden_size": 64, "num_hidden_layers": 2}


def train_tiny(model_type: str, folder: Path, steps: int) -> Path:
    """Train a tiny model of a family on a part of the documentation that comes with Python, in seconds."""
    make_tiny(model_type, folder, **SIZES, **SETTINGS.get(model_type, {}))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = torch.tensor(tokenizer("\n".join(topics[name] for name in sorted(topics)))["input_ids"])
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        # Made for tests that need no training, its weights and biases are too large to train from.
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05, generator=generator)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(steps):
        starts = torch.randint(0, len(tokens) - WINDOW, (BATCH, 1), generator=generator)
        batch = tokens[starts + torch.arange(WINDOW)]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


SETTINGS: dict[str, dict[str, Any]] = {
    "opt": {"word_embed_proj_dim": SIZES["hidden_size"]},
    # A sixteenth, as it is in Command-R, makes a small model learn slowly.
    "cohere": {"logit_scale": 1.0},
}
