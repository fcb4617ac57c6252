r"""Secateur's width pruning beside AMD Quark's and beside the paper's, on the same tokens.

    python -m benchmarks.osscar_quality --model MODEL.gguf --calibration wikitext2-validation.txt \
        --evaluation wikitext2-test.txt --results FOLDER --quark-python PYTHON_WITH_AMD_QUARK

Every side gets the same dense checkpoint and the same calibration windows and writes a checkpoint; the clock runs from
loading to saving, and no side measures perplexity meanwhile. One evaluator then measures all of them. What was measured
lies in FOLDER, window by window, so the benchmark can be stopped and started again; delete a file to measure it anew.
Timings compare only where nothing else ran: see `--only`.

Prints a table as text. `share` is (perplexity − dense) / (Quark's − dense), `overlap` the share of kept channels that
the paper's OSSCAR keeps too.
"""

import json
import math
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.nn.functional import normalize

from benchmarks.results_folder import Folder, arguments
from pruning_core import parse_recipe, prune
from pruning_core.recipe import CalibrationText

SEQUENCE_LENGTH = 1024
PAPER = {
    "damping": 0.01,
    "refit_damping": 0.01,
    "drift_correction": 0.0,
    "vocabulary_share": 0.0,
    "producer_steps": 0,
}
CONTENDERS: dict[str, dict[str, Any] | None] = {
    "quark": None,
    "paper": PAPER,
    "secateur": {},
    "no drift correction": {"drift_correction": 0.0},
    "no random tokens": {"vocabulary_share": 0.0},
    "one ridge": {"refit_damping": 0.001},
    "producers as they were": {"producer_steps": 0},
    "attention refit": {"attention_refit": True},
}
"""Options of each side; those behind it are the default less one thing, and at last with one thing more."""

MAIN = "quark,paper,secateur"


@dataclass(frozen=True)
class Run:
    contender: str
    keep: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.contender}-{self.keep}-{self.seed}".replace(" ", "-")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--runs", default="1280:0,1152:0,768:0,1152:1,1152:2", help="kept width : calibration seed"
    )
    parser.add_argument("--whole", default="1152:0", help="the run measured on every evaluation window")
    parser.add_argument(
        "--only", default=MAIN, help="contenders to prune and to measure, of: " + ", ".join(CONTENDERS)
    )
    parser.add_argument("--samples", type=int, default=64, help="calibration windows")
    parser.add_argument("--every", type=int, default=4, help="measure one evaluation window in so many")
    parser.add_argument("--prune-only", action="store_true", help="leave the perplexities for later")
    asked = parser.parse_args()

    folder = Folder(asked.results)
    folder.save_dense(asked.model)
    pairs = [_pair(run) for run in asked.runs.split(",")]
    contenders = asked.only.split(",")
    runs = [Run(contender, keep, seed) for keep, seed in pairs for contender in contenders]

    def text(run: Run) -> CalibrationText:
        return CalibrationText(
            dataset=asked.calibration, samples=asked.samples, sequence_length=SEQUENCE_LENGTH, seed=run.seed
        )

    for run in runs:
        if folder.read("cost", run.name) is None:
            folder.write("cost", run.name, _prune(run, folder, text(run), asked.quark_python))
            print(run.name, folder.read("cost", run.name), flush=True)
    if asked.prune_only:
        return

    windows = folder.evaluation_windows(asked.evaluation)
    quarter = range(0, len(windows), asked.every)
    folder.measure("dense", windows, quarter)
    for run in runs:
        folder.measure(run.name, windows, quarter)
    if asked.whole:
        keep, seed = _pair(asked.whole)
        for name in ["dense", *(Run(contender, keep, seed).name for contender in contenders)]:
            folder.measure(name, windows, range(len(windows)))
    print(_table(folder, pairs, quarter, asked.whole))


def _pair(run: str) -> tuple[int, int]:
    keep, seed = run.split(":")
    return int(keep), int(seed)


def _prune(run: Run, folder: Folder, calibration: CalibrationText, quark_python: str) -> dict[str, float]:
    options, output = CONTENDERS[run.contender], folder.checkpoint(run.name)
    # What a run left that was stopped while it saved.
    shutil.rmtree(output, ignore_errors=True)
    if options is not None:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(
                _prune_ours, folder.checkpoint("dense"), output, run, calibration, options
            ).result()
    windows = folder.path / f"calibration-{run.seed}.pt"
    torch.save(folder.calibration_windows(calibration), windows)
    script = Path(__file__).with_name("quark_pruning.py")
    ratio = 1 - run.keep / folder.config("dense")["intermediate_size"]
    command = [quark_python, script, folder.checkpoint("dense"), windows, str(ratio), output]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    cost: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return cost


def _prune_ours(
    dense: Path, output: Path, run: Run, calibration: CalibrationText, options: dict[str, Any]
) -> dict[str, float]:
    width = json.loads((dense / "config.json").read_text())["intermediate_size"]
    recipe = parse_recipe(
        {
            "model": str(dense),
            "method": "osscar",
            "ratio": 1 - run.keep / width,
            "options": options,
            "calibration": calibration.model_dump(),
            # As little as can be asked for: the evaluator measures, on its own clock.
            "evaluation": {"dataset": "builtin", "samples": 1, "sequence_length": 16},
        }
    )
    result = prune(recipe, output)
    if result.plan.intermediate_size_after != run.keep:
        raise SystemExit(f"asked for a width of {run.keep}, got {result.plan.intermediate_size_after}")
    return {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}


def _kept(folder: Folder, name: str) -> list[set[int]]:
    """Tell which dense channel each kept one was: the one whose gate row it is most parallel to."""
    kept = []
    narrow, wide = (folder.load(which).model.model.layers for which in (name, "dense"))
    for pruned, dense in zip(narrow, wide, strict=True):
        similarity = normalize(pruned.mlp.gate_proj.weight) @ normalize(dense.mlp.gate_proj.weight).T
        kept.append(set(similarity.argmax(dim=1).tolist()))
    return kept


def _table(folder: Folder, pairs: list[tuple[int, int]], quarter: range, whole: str) -> str:
    """Everything that has been measured, by this run of the benchmark or an earlier one."""
    dense = folder.perplexity("dense", quarter)
    lines = [
        f"dense: perplexity {dense:.4f} on {len(quarter)} windows",
        f"{'kept':>5} {'seed':>4} {'':22} {'perplexity':>10} {'share':>6} {'seconds':>8} {'peak MiB':>8} "
        f"{'overlap':>7}",
    ]
    shares: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    for keep, seed in pairs:
        measured = [
            run
            for run in (Run(name, keep, seed) for name in CONTENDERS)
            if _is_measured(folder, run, quarter)
        ]
        perplexities = {run.contender: folder.perplexity(run.name, quarter) for run in measured}
        kept = {run.contender: _kept(folder, run.name) for run in measured}
        for run in measured:
            perplexity, cost = perplexities[run.contender], folder.read("cost", run.name)
            share = overlap = math.nan
            if "quark" in perplexities:
                share = (perplexity - dense) / (perplexities["quark"] - dense)
            if "paper" in kept:
                pairs_of_layers = zip(kept[run.contender], kept["paper"], strict=True)
                overlap = mean(len(ours & paper) / keep for ours, paper in pairs_of_layers)
            if seed == 0:
                shares[run.contender].append(share)
            lines.append(
                f"{keep:5} {seed:4} {run.contender:22} {perplexity:10.4f} {share:6.3f} {cost['seconds']:8.1f} "
                f"{cost['peak_rss_bytes'] / 2**20:8.0f} {overlap:7.3f}"
            )
    lines += [
        f"mean share of {contender}, seed 0, {len(values)} kept widths: {mean(values):.3f}"
        for contender, values in shares.items()
        if values
    ]
    if whole:
        everything = range(len(folder.read("losses", "dense")))
        keep, seed = _pair(whole)
        names = ["dense", *(Run(contender, keep, seed).name for contender in CONTENDERS)]
        lines.append(f"all {len(everything)} windows:")
        lines += [
            f"  {name} {folder.perplexity(name, everything):.4f}"
            for name in names
            if folder.missing(name, everything) == []
        ]
    return "\n".join(lines)


def _is_measured(folder: Folder, run: Run, wanted: range) -> bool:
    return folder.read("cost", run.name) is not None and not folder.missing(run.name, wanted)


if __name__ == "__main__":
    main()
