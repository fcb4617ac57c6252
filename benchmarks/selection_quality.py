"""What OSSCAR's choice of channels and its refit are each worth, on the same tokens, in one run.

    python -m benchmarks.selection_quality --model MODEL.gguf --calibration builtin --evaluation builtin

Prunes the model four times: OSSCAR; the channels of largest ‖x‖·‖w‖ with OSSCAR's refit; the same channels without any
refit; the channels of largest ‖w‖ without refit. Prints one JSON object with the perplexity of each.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from pruning_core import parse_recipe, prune
from pruning_core.osscar.elimination import eliminate


def largest(gram: Tensor, weight: Tensor, keep: int) -> Tensor:
    """The channels of largest ‖x‖·‖w‖, ascending; `gram` holds ‖x‖² on its diagonal, up to the ridge."""
    scores = gram.diagonal().sqrt() * weight.norm(dim=1)
    return scores.topk(keep).indices.sort().values


def largest_weights(_gram: Tensor, weight: Tensor, keep: int) -> Tensor:
    """The channels of largest ‖w‖, ascending."""
    return weight.norm(dim=1).topk(keep).indices.sort().values


def without_refit(hessian: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """The dense rows: G = HW on all channels, so W = H⁻¹G."""
    return torch.linalg.solve(hessian, targets)[kept]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--ratio", type=float, default=0.25)
    parser.add_argument("--calibration", default="builtin")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--evaluation", default="builtin")
    parser.add_argument("--evaluation-samples", type=int, default=4)
    parser.add_argument("--evaluation-sequence-length", type=int, default=1024)
    asked = parser.parse_args()
    recipe = parse_recipe(
        {
            "model": asked.model,
            "method": "osscar",
            "ratio": asked.ratio,
            "calibration": {
                "dataset": asked.calibration,
                "samples": asked.samples,
                "sequence_length": asked.sequence_length,
            },
            "evaluation": {
                "dataset": asked.evaluation,
                "samples": asked.evaluation_samples,
                "sequence_length": asked.evaluation_sequence_length,
            },
        }
    )

    def perplexities(select: Callable[..., Tensor], **replaced: Callable[..., Tensor]) -> tuple[float, float]:
        with (
            patch.multiple("pruning_core.osscar.layer", eliminate=select, **replaced),
            tempfile.TemporaryDirectory() as folder,
        ):
            result = prune(recipe, Path(folder) / "out")
        return result.perplexity_before, result.perplexity_after

    dense, osscar = perplexities(eliminate)
    print(
        json.dumps(
            {
                "model": asked.model,
                "ratio": asked.ratio,
                "perplexity_dense": dense,
                "perplexity_osscar": osscar,
                "perplexity_largest_with_refit": perplexities(largest)[1],
                "perplexity_largest_without_refit": perplexities(largest, refit=without_refit)[1],
                "perplexity_largest_weights_without_refit": perplexities(
                    largest_weights, refit=without_refit
                )[1],
            }
        )
    )


if __name__ == "__main__":
    main()
