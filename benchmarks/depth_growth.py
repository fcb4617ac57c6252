"""How the cost of a depth search grows with the number of decoder layers, on models with random weights.

    python -m benchmarks.depth_growth --layers 8,16,32,64

An eighth of the layers goes. Prints one JSON object per line: seconds of an exhaustive sweep and of brute force, one
plain forward of the cut model per candidate and window, both in this run; how often a layer was opened and passed,
and the largest relative difference of a loss.
"""

import argparse
import json
import time

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from pruning_core.depth.cuts import Cut, consecutive_cuts, layer_passes
from pruning_core.depth.sweep import score_cuts, sweep_cost
from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.models.registry import describe
from pruning_core.progress import CostModel, Meter
from pruning_core.shelf import Shelf

SIZES = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
}


def brute_force(model: LlamaForCausalLM, cut: Cut, windows: Tensor) -> list[float]:
    """Transformers' own loss of each window, of the model without the layers of a cut."""
    decoder, config = model.model, model.config
    layers, before = decoder.layers, config.num_hidden_layers
    decoder.layers = torch.nn.ModuleList(layer for index, layer in enumerate(layers) if index not in cut)
    config.num_hidden_layers = len(decoder.layers)
    with torch.no_grad():
        losses = [
            model(input_ids=window, labels=window, use_cache=False).loss.item() for window in windows.split(1)
        ]
    decoder.layers, config.num_hidden_layers = layers, before
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", default="8,16,32,64")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--sequence-length", type=int, default=256)
    asked = parser.parse_args()
    for layers in map(int, asked.layers.split(",")):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **SIZES)).eval()
        family, config = describe(model.config.to_dict(), "random")
        layered = ResidentModel(model, family)
        windows = torch.randint(1, SIZES["vocab_size"], (asked.samples, asked.sequence_length))
        cuts, costs = consecutive_cuts(layers, layers // 8), CostModel.of(family, config)

        started = time.perf_counter()
        meter = Meter(costs, sweep_cost(layers, cuts, windows.numel(), costs), ignore)
        scored = (
            score_cuts(layered, windows, cuts, meter, Shelf("device", torch.device("cpu")))
            .double()
            .mean(dim=2)
        )
        seconds = time.perf_counter() - started

        started = time.perf_counter()
        forwarded = torch.tensor([brute_force(model, cut, windows) for cut in cuts], dtype=torch.float64)
        brute_seconds = time.perf_counter() - started
        print(
            json.dumps(
                {
                    "layers": layers,
                    "candidates": len(cuts),
                    "seconds": seconds,
                    "seconds_brute_force": brute_seconds,
                    "passes": asked.samples * layer_passes(layers, cuts),
                    "passes_brute_force": asked.samples * len(cuts) * (layers - layers // 8),
                    "opened": layers,
                    "opened_brute_force": asked.samples * len(cuts) * (layers - layers // 8),
                    "largest_relative_difference": ((scored - forwarded).abs() / forwarded).max().item(),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
