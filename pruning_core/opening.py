"""A model opened for pruning: as a whole, or so that its decoder layers are read one at a time."""

from pathlib import Path

import torch
from transformers import AutoConfig, GenerationConfig

from pruning_core import checkpoint, hub
from pruning_core.budgets import Weights
from pruning_core.layer_files import LayerFiles
from pruning_core.layered_model import LayeredModel, ResidentModel
from pruning_core.model_source import ModelSource
from pruning_core.models.description import Family
from pruning_core.skeleton import Skeleton
from pruning_core.streaming import StreamedModel
from pruning_core.weight_files import WeightFiles

FILES = ["*.safetensors", "*.json"]
"""What is fetched of a Hub repository to stream it."""


def open_model(  # noqa: PLR0917  what a model is loaded from, and how
    source: ModelSource, family: Family, dtype: str, device: torch.device, weights: Weights, folder: Path
) -> LayeredModel:
    """Open a model.

    Args:
        source: where it is; to be streamed it must be `streamable`.
        family: how it is described.
        dtype: of its weights in memory; `auto` for the checkpoint's own.
        device: where it computes.
        weights: whether its layers stay on the device.
        folder: where layers go that are changed and do not stay.

    Raises:
        UnreadableModelError: its files are broken.
        BrokenModelError: a weight is not finite; of a streamed layer it is raised when that is opened.
    """
    if weights == "resident":
        return ResidentModel(checkpoint.load_model(source, dtype, device), family)
    checkpoint.quieten()
    where = source.folder or hub.model_folder(source.reference, FILES)
    files = WeightFiles.of(where, source.reference.id)
    config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    skeleton = Skeleton(
        files, config, family, source.reference.id, _dtype(dtype, config.dtype, files), device
    )
    if (where / "generation_config.json").exists():
        skeleton.model.generation_config = GenerationConfig.from_pretrained(where)
    return StreamedModel(skeleton, family, LayerFiles(folder))


def _dtype(asked: str, configured: torch.dtype | None, files: WeightFiles) -> torch.dtype:
    if asked != "auto":
        dtype: torch.dtype = getattr(torch, asked)
        return dtype
    return configured or files.dtype(next(name for name in files.names if "weight" in name))
