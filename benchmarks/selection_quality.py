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

from benchmarks.osscar_quality import PAPER
from pruning_core import parse_recipe, prune
from pruning_core.osscar import layer
from pruning_core.osscar.selection import select as osscar_selection
from pruning_core.repair import regression
from pruning_core.repair.regression import Regression

Select = Callable[[Regression, int, float], tuple[Tensor, str]]


def largest(regression: Regression, keep: int, _damping: float) -> tuple[Tensor, str]:
    """The channels of largest ‖x‖·‖w‖, ascending."""
    scores = regression.gram.diagonal().sqrt() * regression.weight.norm(dim=1)
    return scores.topk(keep).indices.sort().values, "float64"


def largest_weights(regression: Regression, keep: int, _damping: float) -> tuple[Tensor, str]:
    """The channels of largest ‖w‖, ascending."""
    return regression.weight.norm(dim=1).topk(keep).indices.sort().values, "float64"


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
            "options": PAPER,
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

    def perplexities(
        select: Select, solve_on: Callable[..., Tensor] = regression.solve_on
    ) -> tuple[float, float]:
        with (
            patch.object(layer, "select", select),
            patch.object(regression, "solve_on", solve_on),
            tempfile.TemporaryDirectory() as folder,
        ):
            result = prune(recipe, Path(folder) / "out")
        return result.perplexity_before, result.perplexity_after

    dense, osscar = perplexities(osscar_selection)
    print(
        json.dumps(
            {
                "model": asked.model,
                "ratio": asked.ratio,
                "perplexity_dense": dense,
                "perplexity_osscar": osscar,
                "perplexity_largest_with_refit": perplexities(largest)[1],
                "perplexity_largest_without_refit": perplexities(largest, solve_on=without_refit)[1],
                "perplexity_largest_weights_without_refit": perplexities(
                    largest_weights, solve_on=without_refit
                )[1],
            }
        )
    )


if __name__ == "__main__":
    main()
