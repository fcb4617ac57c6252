"""Prunes a whole model by Quark's own layer importance. `depth` runs it by a Python that has amd-quark.

    python quark_depth.py MODEL_FOLDER WINDOWS.pt LAYERS OUTPUT_FOLDER

The settings are those of Quark's own example for Llama, with everything in memory. Prints one JSON object: seconds of
the search, peak memory, the layers it removed.
"""

import json
import resource
import sys
import time

import torch
from quark.torch.algorithm.depth_pruning import LayerImportancePrunerProcessor
from quark.torch.pruning.api import ModelPruner
from quark.torch.pruning.config import LayerImportancePruneConfig, PConfig
from transformers import AutoModelForCausalLM


def main() -> None:
    model_folder, windows_file, layers, output = sys.argv[1:]
    windows = torch.load(windows_file, weights_only=True)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto").eval()
    config = LayerImportancePruneConfig(
        delete_layer_num=int(layers),
        layer_num_field="num_hidden_layers",
        model_decoder_layers="model.layers",
        layer_norm_field="model.norm",
    )
    removed: list[int] = []
    trim = LayerImportancePrunerProcessor._trim_layers

    def note(self: LayerImportancePrunerProcessor, layers_to_trim: list[int]) -> None:
        # The last that it trims is what it chose; it only logs it.
        removed[:] = layers_to_trim
        trim(self, layers_to_trim)

    LayerImportancePrunerProcessor._trim_layers = note
    started = time.perf_counter()
    with torch.no_grad():
        pruned = ModelPruner(PConfig(algo_config=config)).pruning_model(model, list(windows[:, None]))
    seconds = time.perf_counter() - started
    pruned.save_pretrained(output)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"search_seconds": seconds, "peak_rss_bytes": peak, "removed": removed}))


if __name__ == "__main__":
    main()
