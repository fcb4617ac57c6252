r"""Memory, time and reading of a pruning that streams its layers: random Llama-shaped checkpoints in bfloat16.

    python -m benchmarks.memory growth --folder FOLDER     # the peak at 8, 16, 32 and 64 equal layers
    python -m benchmarks.memory limit --folder FOLDER      # 12 GB of weights under a limit of 4 GB, as root on Linux
    python -m benchmarks.memory overhead --folder FOLDER   # a model that fits, resident and streamed at once

Each by both methods, or by `--method` alone. Checkpoints are written into FOLDER layer by layer and stay there. Every
pruning is a process of its own; for `limit` the kernel limits it, in a memory control group. Prints JSON lines:

    peak_rss_bytes   what was resident at most, mapped files included
    bound_bytes      2.5 × (a layer + the estimate's solver matrices + the calibration's hidden states) + 700 MB
    passes           how often the layers were opened, over their number
    read             bytes read of the checkpoint's layers, over the bytes of those that were opened
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from pruning_core import parse_recipe, prune
from pruning_core.estimate import SOLVER_MATRICES, estimate
from pruning_core.preflight import Preflight
from pruning_core.streaming import StreamedModel

MEGABYTE, GIBIBYTE = 10**6, 2**30
CGROUP_V1, CGROUP_V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")

BESIDE = GIBIBYTE
"""Of the limit, what is not in the job's budget: the interpreter, its libraries, pages that are still to be written."""


@dataclass(frozen=True)
class Shape:
    """Of a checkpoint; `width` is the intermediate size."""

    layers: int
    hidden: int
    width: int

    @property
    def layer_bytes(self) -> int:
        return 2 * (4 * self.hidden**2 + 3 * self.hidden * self.width)

    @property
    def name(self) -> str:
        return f"llama-{self.layers}x{self.hidden}x{self.width}"


@dataclass(frozen=True)
class Text:
    """Calibration windows."""

    samples: int
    sequence_length: int


OPTIONS: dict[str, dict[str, Any]] = {
    "osscar": {"producer_steps": 0, "drift_correction": 0.0, "vocabulary_share": 0.0},
    "depth": {"producer_steps": 0, "heal": "boundary", "leaders": 1, "vocabulary_share": 0.0},
}
"""What takes least time: none of what is left out holds more at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["growth", "limit", "overhead", "one"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--method", choices=list(OPTIONS), action="append")
    parser.add_argument("--job", help="of `one`, which the others start")
    asked = parser.parse_args()
    if asked.what == "one":
        print(json.dumps(_prune(json.loads(asked.job), asked.folder)), flush=True)
        return
    methods = asked.method or list(OPTIONS)
    if asked.what == "growth":
        for method in methods:
            for layers in (8, 16, 32, 64):
                run(asked.folder, Shape(layers, 768, 1536), Text(4, 128), method, remove=layers // 8)
    elif asked.what == "overhead":
        for method in methods:
            compare(asked.folder, Shape(16, 1024, 2048), Text(8, 128), method, remove=2)
    else:
        with memory_group(4 * GIBIBYTE) as join:
            for method in methods:
                job = (Shape(42, 5120, 2560), Text(8, 16), method)
                run(asked.folder, *job, remove=5, budget=4 * GIBIBYTE - BESIDE, join=join)


def compare(folder: Path, shape: Shape, text: Text, method: str, *, remove: int) -> None:
    """Prune with layers resident and streamed, at the same time on a thread each.

    One after the other, a machine that others use as well would be another for each.
    """
    ensure_checkpoint(folder, shape)
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(
                run, folder, shape, text, method, remove=remove, weights=weights, tight=False, threads=1
            )
            for weights in ("resident", "streamed")
        ]
    for each in runs:
        each.result()


def run(
    folder: Path,
    shape: Shape,
    text: Text,
    method: str,
    *,
    remove: int,
    weights: str = "streamed",
    tight: bool = True,
    budget: int | None = None,
    threads: int | None = None,
    join: Callable[[], None] | None = None,
) -> None:
    """Prune in a process of its own, and print what it took."""
    model = ensure_checkpoint(folder, shape)
    recipe = {
        "model": str(model),
        "method": method,
        "ratio": 0.25 if method == "osscar" else remove / shape.layers,
        "options": OPTIONS[method],
        "calibration": {"dataset": "builtin", **asdict(text)},
        "evaluation": {"dataset": "builtin", "samples": 1, "sequence_length": text.sequence_length},
        "weights": weights,
    }
    if tight:
        # Not a byte more, so that hidden states rest on disk.
        sizes = estimate(Preflight(parse_recipe(recipe), roots=None))
        recipe["memory_budget"] = {"device": budget or sizes.streamed_device_bytes}
    command = [sys.executable, "-m", "benchmarks.memory", "one", "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--job", json.dumps(recipe)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        preexec_fn=join,
        check=False,
    )
    facts: dict[str, Any] = {"method": method, **asdict(shape), **asdict(text), "weights": weights}
    if done.returncode:
        print(json.dumps(facts | {"returncode": done.returncode}), flush=True)
        return
    measured = json.loads(done.stdout.splitlines()[-1])
    hidden_states = 2 * text.samples * text.sequence_length * shape.hidden
    working_set = shape.layer_bytes + SOLVER_MATRICES * 8 * shape.width**2 + hidden_states
    measured["bound_bytes"] = round(2.5 * working_set + 700 * MEGABYTE)
    if measured["opened"]:
        measured["passes"] = measured["opened"] / shape.layers
        measured["read"] = measured.pop("layer_bytes_read") / (measured.pop("opened") * shape.layer_bytes)
    print(json.dumps(facts | measured), flush=True)


def _prune(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    opened, models_opened = 0, []
    lend = StreamedModel.open

    @contextmanager
    def counted(model: StreamedModel, index: int) -> Iterator[Any]:
        nonlocal opened
        models_opened[:] = [model]
        # Layers that were changed are in files of their own.
        opened += model._places[index] not in model._layer_files
        with lend(model, index) as layer:
            yield layer

    with patch.object(StreamedModel, "open", counted), TemporaryDirectory(dir=folder) as made:
        result = prune(parse_recipe(recipe), Path(made) / "out", work=Path(made))
        _require_answer(Path(made) / "out", recipe)
    read = sum(model.bytes_read - _around(model) for model in models_opened)
    return {
        "seconds": round(result.seconds, 1),
        "peak_rss_bytes": result.peak_rss_bytes,
        "memory_plan": result.memory_plan.model_dump(),
        "perplexity_before": result.perplexity_before,
        "perplexity_after": result.perplexity_after,
        "opened": opened,
        "layer_bytes_read": read,
    }


def _around(model: StreamedModel) -> int:
    """Bytes of what is not in decoder layers, which is read once."""
    prefix = model.family.layers
    return sum(w.nbytes for name, w in model.model.named_parameters() if not name.startswith(prefix))


def _require_answer(folder: Path, recipe: dict[str, Any]) -> None:
    """Load the result plainly and let it answer, where it fits memory: a limited process maps it from disk."""
    offload = TemporaryDirectory()
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map="auto", max_memory={"cpu": GIBIBYTE}, offload_folder=offload.name
    )
    logits = model(input_ids=torch.arange(8)[None]).logits
    if not logits.isfinite().all():
        raise SystemExit(f"what was pruned does not answer: {recipe}")


def ensure_checkpoint(folder: Path, shape: Shape) -> Path:
    model = folder / shape.name
    # Written last.
    if not (model / "config.json").exists():
        write_checkpoint(shape, model)
    return model


def write_checkpoint(shape: Shape, folder: Path) -> None:
    """Write random weights, a file for every layer, and a tokenizer that knows bytes."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)

    def random(outputs: int, inputs: int) -> torch.Tensor:
        return torch.empty(outputs, inputs, dtype=torch.bfloat16).normal_(
            0, inputs**-0.5, generator=generator
        )

    ones = torch.ones(shape.hidden, dtype=torch.bfloat16)
    places: dict[str, str] = {}

    def write(file: str, weights: dict[str, torch.Tensor]) -> None:
        save_file(weights, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(weights, file))

    for index in range(shape.layers):
        layer = f"model.layers.{index}"
        weights = {
            f"{layer}.self_attn.{name}_proj.weight": random(shape.hidden, shape.hidden) for name in "qkvo"
        }
        for name in ("gate", "up"):
            weights[f"{layer}.mlp.{name}_proj.weight"] = random(shape.width, shape.hidden)
        weights[f"{layer}.mlp.down_proj.weight"] = random(shape.hidden, shape.width)
        for name in ("input", "post_attention"):
            weights[f"{layer}.{name}_layernorm.weight"] = ones.clone()
        write(f"layer-{index:03}.safetensors", weights)
    around = {
        name: random(len(alphabet), shape.hidden) for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    write("around.safetensors", around | {"model.norm.weight": ones})
    index_file = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_file))
    LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(alphabet),
        hidden_size=shape.hidden,
        intermediate_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // 128,
        num_key_value_heads=shape.hidden // 128,
        dtype="bfloat16",
    ).save_pretrained(folder)


@contextmanager
def memory_group(limit: int) -> Iterator[Callable[[], None]]:
    """Make a control group that may take so much memory, and give what makes a process one of it."""
    first = (CGROUP_V1 / "memory.limit_in_bytes").exists()
    group = (CGROUP_V1 if first else CGROUP_V2) / f"secateur-benchmark-{os.getpid()}"
    group.mkdir()

    def join() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
        yield join
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()
