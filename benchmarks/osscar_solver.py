"""OSSCAR's solver beside the naive algorithm, and beside AMD Quark's, on the same matrices in one run.

    python -m benchmarks.osscar_solver
    python -m benchmarks.osscar_solver --sizes 1536x576 --quark-python /path/to/an/environment/with/amd-quark/bin/python
    python -m benchmarks.osscar_solver --growth 1024,2048,4096,8192

Prints one JSON object per line. Both sides get AᵀA and W and give the kept channels and their refitted rows; the naive
side removes one channel at a time in float64 with rank-one updates of H⁻¹ and W. Quark solves in float32.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from pruning_core.osscar.layer import NarrowMlp, narrow
from pruning_core.repair.moments import Moments
from pruning_core.repair.regression import damp, solve_on

DAMPING = 0.01
T = TypeVar("T")


def ours(gram: Tensor, weight: Tensor, keep: int) -> NarrowMlp:
    """Secateur's `narrow` with the paper's target, which needs nothing of the activations but AᵀA."""
    moments = Moments.of_gram(gram, weight)
    return narrow(moments, weight, keep=keep, damping=DAMPING, refit_dampings=[DAMPING])


def random_layer(channels: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """AᵀA of correlated activations, [channels, channels], and a consumer, [channels, outputs], in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mixing = normal(channels, channels) / channels**0.5 + torch.eye(channels, dtype=torch.float64)
    activations = normal(2 * channels, channels) @ mixing
    return activations.T @ activations, normal(channels, outputs) * 0.02


def naive(gram: Tensor, weight: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Remove one channel at a time, updating H⁻¹ and W whole after each; give the kept channels and their rows."""
    hessian = damp(gram, DAMPING)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    current = weight.clone()
    alive = torch.ones(len(gram), dtype=torch.bool)
    for _ in range(len(gram) - keep):
        scores = current.square().sum(dim=1) / inverse.diagonal()
        j = int(torch.where(alive, scores, torch.inf).argmin())
        alive[j] = False
        column, row, pivot = inverse[:, j].clone(), current[j].clone(), inverse[j, j].clone()
        current -= torch.outer(column, row) / pivot
        inverse -= torch.outer(column, column) / pivot
        inverse[j, j] = 1.0
    kept = alive.nonzero()[:, 0]
    return kept, solve_on(hessian, hessian @ weight, kept)


def timed(solve: Callable[[], T], repeats: int) -> tuple[float, T]:
    """The quickest of `repeats` runs, in seconds, and what it gave."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = solve()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def quark_seconds(python: str, gram: Tensor, weight: Tensor, keep: int) -> float:
    """Seconds of Quark's own `OSSCAR.prune` in its own environment, as it times itself from outside."""
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.pt"
        torch.save({"gram": gram, "weight": weight, "keep": keep}, problem)
        script = Path(__file__).with_name("quark_solver.py")
        done = subprocess.run([python, script, problem], check=True, capture_output=True, text=True)
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", default="1536x576,4096x1536", help="channels × outputs, with commas between"
    )
    parser.add_argument(
        "--growth", default="", help="channels to time our side alone at, outputs 3/8 of them"
    )
    parser.add_argument("--remove", default="0.25,0.5")
    parser.add_argument("--quark-python", help="a Python that has amd-quark")
    asked = parser.parse_args()
    shares = [float(share) for share in asked.remove.split(",")]

    for size in filter(None, asked.sizes.split(",")):
        channels, outputs = map(int, size.split("x"))
        gram, weight = random_layer(channels, outputs)
        for share in shares:
            keep = int(channels * (1 - share))
            seconds, solved = timed(partial(ours, gram, weight, keep), repeats=3)
            theirs, expected = timed(partial(naive, gram, weight, keep), repeats=1)
            line = {
                "channels": channels,
                "outputs": outputs,
                "removed": share,
                "threads": torch.get_num_threads(),
                "seconds": seconds,
                "seconds_naive": theirs,
                "times_faster_than_naive": theirs / seconds,
                "precision": solved.precision,
                "same_channels": solved.kept.equal(expected[0]),
            }
            if asked.quark_python:
                line["seconds_quark"] = quark_seconds(asked.quark_python, gram, weight, keep)
                line["times_faster_than_quark"] = line["seconds_quark"] / seconds
            print(json.dumps(line), flush=True)

    for channels in map(int, filter(None, asked.growth.split(","))):
        gram, weight = random_layer(channels, channels * 3 // 8)
        for share in shares:
            keep = int(channels * (1 - share))
            seconds, _ = timed(partial(ours, gram, weight, keep), repeats=1)
            print(json.dumps({"channels": channels, "removed": share, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
