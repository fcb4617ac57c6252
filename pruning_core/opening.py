"""A model opened for pruning: as a whole, or so that its decoder layers are read one at a time."""

from pathlib import Path

import torch

from pruning_core import checkpoint
from pruning_core.allocator import return_large_blocks
from pruning_core.budgets import Weights
from pruning_core.layer_files import LayerFiles
from pruning_core.layered_model import LayeredModel, ResidentModel
from pruning_core.model_source import ModelSource
from pruning_core.models.description import Family
from pruning_core.skeleton import Skeleton
from pruning_core.stored_weights import weights_folder
from pruning_core.streaming import StreamedModel
from pruning_core.weight_files import WeightFiles


def open_model(  # noqa: PLR0917  what a model is loaded from, and how
    source: ModelSource,
    family: Family,
    dtype: str,
    device: torch.device,
    weights: Weights,
    folder: Path,
    changed: LayerFiles | None = None,
) -> LayeredModel:
    """Open a model.

    Args:
        source: where it is; to be streamed it must be `streamable`.
        family: how it is described.
        dtype: of its weights in memory; `auto` for the checkpoint's own.
        device: where it computes.
        weights: whether its layers stay on the device.
        folder: where layers go that are changed and do not stay.
        changed: where layers go that are changed, wherever they stay, and where some are that were changed before; None
            to begin without.

    Raises:
        UnreadableModelError: its files are broken.
        BrokenModelError: a weight is not finite; of a streamed layer it is raised when that is opened.
    """
    if weights == "resident":
        return ResidentModel(checkpoint.load_model(source, dtype, device), family, changed)
    checkpoint.quieten()
    return_large_blocks()
    name = source.reference.id
    files, config = WeightFiles.of(weights_folder(source), name), checkpoint.load_config(source)
    skeleton = Skeleton(files, config, family, name, _dtype(dtype, config.dtype, files), device)
    checkpoint.load_generation_config(source, skeleton.model)
    return StreamedModel(skeleton, family, changed or LayerFiles(folder))


def _dtype(asked: str, configured: torch.dtype | str | None, files: WeightFiles) -> torch.dtype:
    wanted = configured if asked == "auto" else asked
    if isinstance(wanted, str):
        named: torch.dtype = getattr(torch, wanted)
        return named
    return wanted or files.dtype(next(name for name in files.names if "weight" in name))
