"""Prunes a whole model by Quark's own OSSCAR. `osscar_quality` runs it by a Python that has amd-quark.

    python quark_pruning.py MODEL_FOLDER WINDOWS.pt RATIO OUTPUT_FOLDER

The settings are those of Quark's own example for Llama. Prints one JSON object: seconds from loading to saving, peak
memory.
"""

import json
import resource
import sys
import time

import torch
from quark.torch.pruning.api import ModelPruner
from quark.torch.pruning.config import OSSCARConfig, PConfig
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM


def main() -> None:
    model_folder, windows_file, ratio, output = sys.argv[1:]
    windows = torch.load(windows_file, weights_only=True)
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto").eval()
    config = OSSCARConfig(
        damp_percent=0.01,
        true_sequential=True,
        inside_layer_modules=["mlp.down_proj"],
        mlp_pruning_modules=["mlp.down_proj"],
        mlp_scaling_layers={"mlp.down_proj": ["mlp.up_proj", "mlp.gate_proj"]},
        mlp_pruning_ratio=float(ratio),
        mlp_intermediate_size_name="intermediate_size",
        model_decoder_layers="model.layers",
    )
    with torch.no_grad():
        pruned = ModelPruner(PConfig(algo_config=config)).pruning_model(
            model, DataLoader(windows, batch_size=1)
        )
    pruned.save_pretrained(output)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main()
