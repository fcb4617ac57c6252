"""Secateur's perplexity beside transformers' own loss, on the same windows, in one run.

    python -m benchmarks.perplexity_parity --model MODEL.gguf --text wikitext2-test.txt --sequence-length 2048

Prints one JSON object: both perplexities, their relative difference, and the largest difference on any one window.
"""

import argparse
import json
import math

import torch

from pruning_core import checkpoint
from pruning_core.calibration import evaluation_windows
from pruning_core.devices import find_device
from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.model_source import find_model
from pruning_core.models.registry import describe
from pruning_core.perplexity import mean_loss
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import EvaluationText, ModelReference
from pruning_core.shelf import Shelf
from pruning_core.text_source import find_text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--sequence-length", type=int, default=2048)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()

    source = find_model(ModelReference(id=asked.model), roots=None)
    family, config = describe(source.config, asked.model)
    text = EvaluationText(dataset=asked.text, sequence_length=asked.sequence_length, samples=asked.samples)
    prepared = evaluation_windows(
        text, find_text("text", asked.text, "evaluation", roots=None), checkpoint.load_tokenizer(source)
    )
    model = checkpoint.load_model(source, asked.dtype, find_device(asked.device))
    layered = ResidentModel(model, family)
    costs = CostModel.of(family, config)
    meter = Meter(costs, prepared.windows.numel() * (len(layered) + costs.head), ignore)

    ours, theirs = [], []
    for window in prepared.windows.split(1):
        ours.append(mean_loss(layered, window, meter, Shelf("device", layered.device)))
        tokens = window.to(model.device)
        with torch.no_grad():
            theirs.append(model(input_ids=tokens, labels=tokens, use_cache=False).loss.item())
    secateur, transformers = (math.exp(sum(losses) / len(losses)) for losses in (ours, theirs))
    print(
        json.dumps(
            {
                "model": asked.model,
                "windows": len(ours),
                "sequence_length": asked.sequence_length,
                "dtype": str(model.dtype).removeprefix("torch."),
                "perplexity_secateur": secateur,
                "perplexity_transformers": transformers,
                "relative_difference": abs(secateur - transformers) / transformers,
                "largest_loss_difference": max(abs(a - b) for a, b in zip(ours, theirs, strict=True)),
            }
        )
    )


if __name__ == "__main__":
    main()
