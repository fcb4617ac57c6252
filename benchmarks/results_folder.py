"""What the quality benchmarks share: a folder that keeps what was measured, one evaluator for all sides."""

import argparse
import json
import math
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from pruning_core import checkpoint
from pruning_core.calibration import calibration_windows, evaluation_windows
from pruning_core.events import ignore
from pruning_core.layered_model import ResidentModel
from pruning_core.model_source import find_model
from pruning_core.models.registry import describe
from pruning_core.perplexity import mean_loss
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import CalibrationText, EvaluationText, ModelReference
from pruning_core.shelf import Shelf
from pruning_core.text_source import find_text


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every quality benchmark is told: the model, the texts, where results lie, and where Quark is."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--calibration", required=True, help="a text file")
    parser.add_argument("--evaluation", required=True, help="a text file")
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--quark-python", default=sys.executable, help="a Python that has amd-quark")
    return parser


SHARD_BYTES = 5 * 10**9
ON_DEVICE = Shelf("device", torch.device("cpu"))


class Folder:
    """The results folder: checkpoints, timings and losses by name; what lies in it is not measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / name

    def config(self, name: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.checkpoint(name) / "config.json").read_text())
        return config

    def read(self, kind: str, name: str) -> Any:
        file = self.path / f"{name}.{kind}.json"
        return json.loads(file.read_text()) if file.exists() else None

    def write(self, kind: str, name: str, content: Any) -> None:
        temporary = self.path / "writing.json"
        temporary.write_text(json.dumps(content))
        temporary.rename(self.path / f"{name}.{kind}.json")

    def save_dense(self, model: str) -> None:
        """Write the model as the checkpoint `dense` that every side gets, unless it is there."""
        if self.checkpoint("dense").exists():
            return
        source = find_model(ModelReference(id=model), roots=None)
        family, _ = describe(source.config, model)
        loaded = ResidentModel(checkpoint.load_model(source, "auto", torch.device("cpu")), family)
        tokenizer = checkpoint.load_tokenizer(source)
        checkpoint.save(loaded, tokenizer, self.checkpoint("dense"), source, SHARD_BYTES, companions={})

    def calibration_windows(self, text: CalibrationText) -> Tensor:
        tokenizer = checkpoint.load_tokenizer(self._source("dense"))
        source = find_text("calibration", text.dataset, "calibration", roots=None)
        return calibration_windows(text, source, tokenizer).windows

    def evaluation_windows(self, file: str) -> Tensor:
        tokenizer = checkpoint.load_tokenizer(self._source("dense"))
        text = find_text("evaluation", file, "evaluation", roots=None)
        return evaluation_windows(EvaluationText(dataset=file), text, tokenizer).windows

    def load(self, name: str) -> ResidentModel:
        source = self._source(name)
        family, _ = describe(source.config, name)
        return ResidentModel(checkpoint.load_model(source, "auto", torch.device("cpu")), family)

    def _source(self, name: str) -> Any:
        return find_model(ModelReference(id=str(self.checkpoint(name))), roots=None)

    def measure(self, name: str, windows: Tensor, wanted: range) -> None:
        """Measure the mean loss of the wanted windows that were not measured yet."""
        missing = self.missing(name, wanted)
        if not missing:
            return
        losses: dict[str, float] = self.read("losses", name) or {}
        model = self.load(name)
        costs = CostModel.of(model.family, model.config.to_dict())
        meter = Meter(costs, len(missing) * windows.shape[1] * (len(model) + costs.head), ignore)
        for index in missing:
            losses[str(index)] = mean_loss(model, windows[index : index + 1], meter, ON_DEVICE)
            self.write("losses", name, losses)

    def missing(self, name: str, wanted: range) -> list[int]:
        losses = self.read("losses", name) or {}
        return [index for index in wanted if str(index) not in losses]

    def perplexity(self, name: str, wanted: range) -> float:
        losses = self.read("losses", name)
        return math.exp(mean(losses[str(index)] for index in wanted))
