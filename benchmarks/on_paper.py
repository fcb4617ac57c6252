r"""What a job on a model larger than this machine would take, worked out from its config: gigabytes and hours.

    python -m benchmarks.on_paper --config CONFIG.json --device-memory 80GB --host-memory 512GB

Bytes are the estimate's. Seconds are operations over speeds: operations are counted from the config (multiply-adds
twice), speeds are the flags below, of which the defaults are what data sheets of one H100 SXM and of a host of 64 cores
allow, times `--efficiency`. Passes over the model and the share of a full search that the race needs are those that
`benchmarks.memory` and `benchmarks.depth` measured on small models. Nothing of this was run. Prints a table as text.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pruning_core import parse_recipe
from pruning_core.depth.cuts import consecutive_cuts, layer_passes
from pruning_core.estimate import estimate
from pruning_core.preflight import Preflight
from pruning_core.repair.visitors import REFIT_DAMPINGS

TERA = 10**12
RACED = 900 / 3240
"""Of the windows that every candidate would pass a layer with, those that it did: docs/benchmarks.md, removed 3–5."""

EVALUATION_TOKENS = 2**18
"""Of WikiText-2's test text, about."""

RIDGES = len(REFIT_DAMPINGS) + 1
PRODUCERS = 2


@dataclass(frozen=True)
class Speeds:
    """Operations and bytes per second."""

    narrow: float
    single: float
    solver: float
    disk: float


@dataclass(frozen=True)
class Shape:
    """Of one decoder layer: parameters, intermediate and hidden size, and the share of channels that stays."""

    parameters: int
    width: int
    hidden: int
    kept: float

    def passing(self, tokens: float) -> float:
        """Operations of tokens through the layer, in the checkpoint's dtype."""
        return 2 * self.parameters * tokens

    def gram(self, tokens: float) -> float:
        """AᵀA, the panels on and above its diagonal, and AᵀT, in float32."""
        return tokens * (self.width**2 + 2 * self.width * self.hidden)

    def fit(self, tokens: float, steps: int) -> float:
        """Gauss-Newton steps of the producers, in float32: see `progress.CostModel.fit`."""
        kept = self.kept * self.width
        return 2 * steps * tokens * (11 * kept * self.hidden + (PRODUCERS + 1) / 2 * kept**2)

    def eliminate(self) -> float:
        """A factor, an inverse, a solve for every output, and the downdates."""
        p, removed = self.width, (1 - self.kept) * self.width
        return 2 * (p**3 / 3 + 4 / 3 * p**3 + 2 * p**2 * self.hidden + 3 * removed * p**2)

    def refit(self, steps: int) -> float:
        """Ridges to choose from, again after the fit, and the two factors of each step's curvature."""
        kept = self.kept * self.width
        solve = kept**3 / 3 + 2 * kept**2 * self.hidden
        return 2 * solve * ((1 + (steps > 0)) * RIDGES + steps * (PRODUCERS + 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="a config.json")
    parser.add_argument("--ratio", type=float, default=0.1)
    parser.add_argument("--device-memory", default="80GB")
    parser.add_argument("--host-memory", default="512GB")
    parser.add_argument("--narrow", type=float, default=989, help="device, 16 bits, 10¹² operations a second")
    parser.add_argument("--single", type=float, default=67, help="device, float32")
    parser.add_argument("--device-double", type=float, default=67, help="device, float64 matrix products")
    parser.add_argument("--host-double", type=float, default=3, help="host, float64 matrix products")
    parser.add_argument("--disk", type=float, default=6, help="10⁹ bytes a second")
    parser.add_argument("--efficiency", type=float, default=0.5, help="of these, what is reached")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(asked.config.read_text())
        for method in ("osscar", "depth"):
            for line in _describe(Path(folder), method, asked):
                print(line)


def _describe(folder: Path, method: str, asked: Any) -> list[str]:
    budget = {"device": asked.device_memory, "host": asked.host_memory}
    recipe = parse_recipe(
        {
            "model": str(folder),
            "method": method,
            "ratio": asked.ratio,
            "dtype": "bfloat16",
            "calibration": {"dataset": "builtin"},
            "evaluation": {"dataset": "builtin"},
            "memory_budget": budget,
        }
    )
    ready = Preflight(recipe, roots=None)
    sizes = estimate(ready)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    width, hidden, layers = sizes.intermediate_size_before, config["hidden_size"], sizes.layers_before
    count = ready.family.count(ready.config)
    shape = Shape(
        count.layer_without_channels + width * count.channel,
        width,
        hidden,
        sizes.intermediate_size_after / width,
    )
    on_host = sizes.memory_plan is not None and sizes.memory_plan.solver == "host"
    reached = asked.efficiency * TERA
    speeds = Speeds(
        asked.narrow * reached,
        asked.single * reached,
        (asked.host_double if on_host else asked.device_double) * reached,
        asked.disk * asked.efficiency * 10**9,
    )
    calibration, options = recipe.calibration, recipe.options
    window = calibration.sequence_length
    search = options.search_windows(calibration.samples) if recipe.method == "depth" else 0
    repair = calibration.samples - search
    tokens = (repair + options.vocabulary_windows(repair)) * window
    measured = 2 * EVALUATION_TOKENS * layers
    hours: dict[str, float] = {"measuring": shape.passing(measured) / speeds.narrow}
    visits = layers if recipe.method == "osscar" else sizes.layers_after
    if recipe.method == "depth":
        cuts = consecutive_cuts(layers, layers - sizes.layers_after)
        passes = RACED * layer_passes(layers, cuts) * search * window
        hours["search"] = shape.passing(passes) / speeds.narrow
        # The middle of the model: every layer behind the cut is healed.
        visits //= 2
    steps = options.producer_steps
    solving = shape.refit(steps) + (shape.eliminate() if recipe.method == "osscar" else 0)
    hours |= {
        "dense and pruned stream": visits * shape.passing(2 * tokens) / speeds.narrow,
        "sums over tokens": visits * shape.gram(tokens) * (1 + (steps > 0)) / speeds.single,
        "fit of gate and up": visits * shape.fit(tokens, steps) / speeds.single,
        "solver": visits * solving / speeds.solver,
    }
    weights = 2 * sizes.parameters_before
    hours["reading, if it were not ahead"] = asked_passes(recipe.method) * weights / speeds.disk
    plan = sizes.memory_plan.model_dump() if sizes.memory_plan else None
    total = sum(seconds for name, seconds in hours.items() if not name.startswith("reading"))
    lines = [
        f"{method}: {layers} layers, {sizes.parameters_before:,} parameters, plan {plan}",
        f"  device {_gb(_device_bytes(sizes))}, hidden states {_gb(sizes.calibration_bytes)}, "
        f"solver {_gb(sizes.solver_bytes)}, checkpoint {_gb(weights)}, result {_gb(sizes.result_bytes)}",
    ]
    lines += [f"  {name:32} {seconds / 3600:8.2f} h" for name, seconds in hours.items()]
    return [*lines, f"  {'all but the reading':32} {total / 3600:8.2f} h"]


def asked_passes(method: str) -> float:
    """How often a pruning reads the model, as measured."""
    return {"osscar": 4.5, "depth": 4.7}[method]


def _device_bytes(sizes: Any) -> int:
    plan = sizes.memory_plan
    if plan is None or plan.weights == "resident":
        return int(sizes.least_device_bytes)
    moved = sizes.solver_bytes - sizes.beside_solver_bytes if plan.solver == "host" else 0
    return int(sizes.streamed_device_bytes - moved)


def _gb(size: int) -> str:
    return f"{size / 10**9:,.0f} GB"


if __name__ == "__main__":
    main()
