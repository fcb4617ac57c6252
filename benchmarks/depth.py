r"""Secateur's depth pruning beside AMD Quark's, on the same tokens.

    python -m benchmarks.depth --model MODEL.gguf --calibration wikitext2-validation.txt \
        --evaluation wikitext2-test.txt --results FOLDER --quark-python PYTHON_WITH_AMD_QUARK

Every side gets the same dense checkpoint and searches on the same windows. One evaluator measures all checkpoints on
every fourth window of the evaluation text. What was measured lies in FOLDER, so the benchmark can be stopped and
started again; delete a file to measure it anew. Timings compare only where nothing else ran.

Prints a table as text. `share` is (perplexity − dense) / (Quark's − dense); `search s` is the search alone, without
loading and healing; `opened` how often a decoder layer was asked for, and `passes` how many windows passed one, both
during the search.
"""

import argparse
import json
import math
import shutil
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.results_folder import Folder, arguments
from pruning_core import parse_recipe, prune
from pruning_core.events import Event, StageStarted
from pruning_core.layered_model import ResidentModel
from pruning_core.progress import Meter
from pruning_core.recipe import CalibrationText

EVERY = 4
CONTENDERS: dict[str, dict[str, Any] | None] = {
    "quark": None,
    "race": {"heal": "none"},
    "exhaustive": {"heal": "none", "search": "exhaustive"},
    "secateur": {},
    "boundary": {"heal": "boundary"},
    "producers as they were": {"producer_steps": 0},
    "whole drift": {"drift_correction": 1.0},
}
"""Options of each side; `secateur` is the default, and those behind it the default less one thing."""

MAIN = "quark,race,exhaustive,secateur"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--remove", default="3,6", help="numbers of layers")
    parser.add_argument("--search-samples", type=int, default=8)
    parser.add_argument("--heal-samples", type=int, default=64)
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--only", default=MAIN, help="of: " + ", ".join(CONTENDERS))
    asked = parser.parse_args()

    folder = Folder(asked.results)
    folder.save_dense(asked.model)
    contenders, removes = asked.only.split(","), [int(remove) for remove in asked.remove.split(",")]
    windows = folder.evaluation_windows(asked.evaluation)
    quarter = range(0, len(windows), EVERY)
    for remove in removes:
        for contender in contenders:
            name = _name(contender, remove)
            if folder.read("cost", name) is None:
                folder.write("cost", name, _prune(contender, remove, folder, asked))
                print(name, folder.read("cost", name), flush=True)
    for name in ["dense", *(_name(contender, remove) for remove in removes for contender in contenders)]:
        folder.measure(name, windows, quarter)
    print(_table(folder, removes, quarter))


def _name(contender: str, remove: int) -> str:
    return f"{contender}-without-{remove}".replace(" ", "-")


def _text(asked: argparse.Namespace) -> CalibrationText:
    return CalibrationText(
        dataset=asked.calibration,
        samples=asked.search_samples + asked.heal_samples,
        sequence_length=asked.sequence_length,
    )


def _prune(contender: str, remove: int, folder: Folder, asked: argparse.Namespace) -> dict[str, Any]:
    options, output = CONTENDERS[contender], folder.checkpoint(_name(contender, remove))
    # What a run left that was stopped while it saved.
    shutil.rmtree(output, ignore_errors=True)
    if options is not None:
        recipe = {
            "model": str(folder.checkpoint("dense")),
            "method": "depth",
            "ratio": remove / folder.config("dense")["num_hidden_layers"],
            "options": {"search_samples": asked.search_samples, **options},
            "calibration": _text(asked).model_dump(),
            # As little as can be asked for: the evaluator measures, on its own clock.
            "evaluation": {"dataset": "builtin", "samples": 1, "sequence_length": 16},
        }
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(_prune_ours, recipe, output).result()
    windows = folder.path / "search-windows.pt"
    torch.save(folder.calibration_windows(_text(asked))[: asked.search_samples].clone(), windows)
    script = Path(__file__).with_name("quark_depth.py")
    command = [asked.quark_python, script, folder.checkpoint("dense"), windows, str(remove), output]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    layers = folder.config("dense")["num_hidden_layers"]
    # It forwards the dense model, then every cut one, window by window.
    cost["opened"] = layers + (layers - remove + 1) * (layers - remove)
    cost["passes"] = cost["opened"] * asked.search_samples
    return cost


class _Clock:
    """Times the search, and counts what it does."""

    def __init__(self, positions: int) -> None:
        self.seconds = math.nan
        self.opened = self.passes = 0
        self._positions = positions
        self._started: float | None = None
        self._open, self._layer = ResidentModel.open, Meter.layer

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            if event.stage == "pruning":
                self._started = time.perf_counter()
            elif self._started is not None:
                self.seconds, self._started = time.perf_counter() - self._started, None

    def open(self, model: ResidentModel, index: int) -> AbstractContextManager[nn.Module]:
        self.opened += self._started is not None
        return self._open(model, index)

    def layer(self, meter: Meter, tokens: int) -> None:
        if self._started is not None:
            self.passes += tokens // self._positions
        self._layer(meter, tokens)


def _prune_ours(recipe: dict[str, Any], output: Path) -> dict[str, Any]:
    clock = _Clock(recipe["calibration"]["sequence_length"])
    with (
        # Functions, for a class binds them to its objects.
        patch.object(ResidentModel, "open", lambda model, index: clock.open(model, index)),  # noqa: PLW0108  a function is bound
        patch.object(Meter, "layer", lambda meter, tokens: clock.layer(meter, tokens)),  # noqa: PLW0108  a function is bound
    ):
        result = prune(parse_recipe(recipe), output, on_event=clock)
    # With a heal, more than the search was clocked.
    searched = recipe["options"].get("heal") == "none"
    return {
        "seconds": result.seconds,
        "search_seconds": clock.seconds if searched else None,
        "opened": clock.opened if searched else None,
        "passes": clock.passes if searched else None,
        "peak_rss_bytes": result.peak_rss_bytes,
        "removed": result.removed_layers,
        "candidates": [candidate.model_dump() for candidate in result.candidates],
    }


def _table(folder: Folder, removes: list[int], quarter: range) -> str:
    """Everything that has been measured, by this run of the benchmark or an earlier one."""
    dense = folder.perplexity("dense", quarter)
    lines = [
        f"dense: perplexity {dense:.4f} on {len(quarter)} windows",
        f"{'removed':>22} {'':22} {'perplexity':>10} {'share':>6} {'search s':>8} {'opened':>7} {'passes':>7} "
        f"{'peak MiB':>8}",
    ]
    for remove in removes:
        measured = {
            contender: _name(contender, remove)
            for contender in CONTENDERS
            if folder.read("cost", _name(contender, remove))
            and not folder.missing(_name(contender, remove), quarter)
        }
        for contender, name in measured.items():
            cost, perplexity, share = folder.read("cost", name), folder.perplexity(name, quarter), math.nan
            if "quark" in measured:
                share = (perplexity - dense) / (folder.perplexity(measured["quark"], quarter) - dense)
            seconds = cost["search_seconds"]
            lines.append(
                f"{', '.join(map(str, cost['removed'])):>22} {contender:22} {perplexity:10.4f} {share:6.3f} "
                f"{'' if seconds is None else format(seconds, '.1f'):>8} {cost['opened'] or '':7} "
                f"{cost['passes'] or '':7} "
                f"{cost['peak_rss_bytes'] / 2**20:8.0f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
