"""Decoder layers as a pruning left them, a file each, until the model is saved."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pruning_core.models.sizes import tell_sizes
from pruning_core.tensor_file import TensorFile


class LayerFiles:
    """A folder of decoder layers, by their places in the dense model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, place: int) -> bool:
        return self._file(place).exists()

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(int(file.stem.removeprefix("layer-")) for file in self._folder.glob("layer-*")))

    def put(self, place: int, layer: nn.Module) -> None:
        """Keep a layer.

        Raises:
            DiskFullError: there is no room.
        """
        weights = layer.state_dict()
        file = TensorFile(self._file(place), weights)
        for name, weight in weights.items():
            file.write(name, weight)
        file.close()

    def read(self, place: int) -> Mapping[str, Tensor]:
        """A layer's tensors by their names inside it, in the machine's memory."""
        return load_file(self._file(place))

    def drop_from(self, first: int) -> None:
        """Forget the layers at `first` and behind."""
        for place in self:
            if place >= first:
                self._file(place).unlink()

    def _file(self, place: int) -> Path:
        return self._folder / f"layer-{place:05}.safetensors"


def give_weights(layer: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> None:
    """Give a layer weights by their names inside it, which may be of other sizes."""
    for name, weight in weights.items():
        path, _, last = name.rpartition(".")
        module = layer.get_submodule(path)
        value = weight.to(device)
        setattr(
            module,
            last,
            nn.Parameter(value, requires_grad=False) if last in module._parameters else value,
        )
    for module in layer.modules():
        tell_sizes(module)
