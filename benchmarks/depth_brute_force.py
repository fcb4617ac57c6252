"""The depth sweep beside brute force: one plain transformers forward of the cut model per candidate, in one run.

    python -m benchmarks.depth_brute_force --model MODEL.gguf --remove 3 --samples 2 --sequence-length 256

Prints one JSON object: the run each chose, the largest relative difference of any candidate's loss, both times.
"""

import argparse
import json
import time

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pruning_core import checkpoint
from pruning_core.calibration import calibration_windows
from pruning_core.depth.sweep import score_runs, sweep_cost
from pruning_core.devices import find_device
from pruning_core.events import ignore
from pruning_core.model_source import find_model
from pruning_core.models.registry import describe
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import CalibrationText, ModelReference
from pruning_core.streaming import ResidentModel
from pruning_core.text_source import find_text


def forward_without(model: PreTrainedModel, removed: range, windows: Tensor) -> float:
    """Mean of transformers' own loss over windows, of the model without the layers `removed`."""
    decoder, config = model.model, model.config
    layers, before = decoder.layers, config.num_hidden_layers
    decoder.layers = torch.nn.ModuleList(layer for i, layer in enumerate(layers) if i not in removed)
    config.num_hidden_layers = len(decoder.layers)
    with torch.no_grad():
        losses = [
            model(input_ids=window, labels=window, use_cache=False).loss.item() for window in windows.split(1)
        ]
    decoder.layers, config.num_hidden_layers = layers, before
    return sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--remove", type=int, default=3)
    parser.add_argument("--text", default="builtin")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--sequence-length", type=int, default=256)
    asked = parser.parse_args()

    source = find_model(ModelReference(id=asked.model), roots=None)
    family, config = describe(source.config, asked.model)
    text = CalibrationText(dataset=asked.text, samples=asked.samples, sequence_length=asked.sequence_length)
    windows = calibration_windows(
        text, find_text("text", asked.text, "calibration", roots=None), checkpoint.load_tokenizer(source)
    ).windows
    model = checkpoint.load_model(source, "auto", find_device("cpu"))
    layered = ResidentModel(model, family)
    costs = CostModel.of(family, config)

    started = time.monotonic()
    cost = sweep_cost(len(layered), asked.remove, windows.numel(), costs)
    swept = score_runs(layered, windows, asked.remove, Meter(costs, cost, ignore))
    sweep_seconds = time.monotonic() - started

    started = time.monotonic()
    forwarded = [
        forward_without(model, range(start, start + asked.remove), windows) for start in range(len(swept))
    ]
    print(
        json.dumps(
            {
                "model": asked.model,
                "candidates": len(swept),
                "first_layer_chosen_by_sweep": swept.index(min(swept)),
                "first_layer_chosen_by_brute_force": forwarded.index(min(forwarded)),
                "largest_relative_loss_difference": max(
                    abs(a - b) / b for a, b in zip(swept, forwarded, strict=True)
                ),
                "sweep_seconds": sweep_seconds,
                "brute_force_seconds": time.monotonic() - started,
            }
        )
    )


if __name__ == "__main__":
    main()
