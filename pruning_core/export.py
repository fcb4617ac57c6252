"""A model's weights written as a checkpoint, decoder layer by decoder layer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from pruning_core.layered_model import LayeredModel
from pruning_core.shards import sharded


def export_weights(model: LayeredModel, folder: Path, shard_bytes: int) -> None:
    """Write the weights under the names and in the layout of the checkpoint that they came from.

    It takes the memory of one layer. Files and what is in them are planned as `save_pretrained` does, and tied weights
    are written once.

    Args:
        model: what to write.
        folder: where to.
        shard_bytes: most bytes in a file with more than one tensor.

    Raises:
        DiskFullError: there is no room; nothing is left then.
    """
    module: Any = model.model
    weights = remove_tied_weights_from_state_dict(module.state_dict(), module)
    for name in module._keys_to_ignore_on_save or ():
        weights.pop(name, None)
    shapes = _shapes(revert_weight_conversion(module, _shapes(weights)))
    with sharded(folder, shapes, shard_bytes) as shards:
        for part in _parts(model, weights):
            for name, weight in revert_weight_conversion(module, part).items():
                shards.write(name, weight)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on the meta device, each a tensor of its own."""
    return {
        name: torch.empty(weight.shape, dtype=weight.dtype, device="meta") for name, weight in weights.items()
    }


def _parts(model: LayeredModel, weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """What is around the decoder layers, and each of them."""
    prefix = f"{model.family.layers}."
    yield {name: weight for name, weight in weights.items() if not name.startswith(prefix)}
    for index in range(len(model)):
        with model.open(index) as layer:
            yield {f"{prefix}{index}.{name}": weight for name, weight in layer.state_dict().items()}
