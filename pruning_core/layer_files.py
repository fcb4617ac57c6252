"""Decoder layers as a pruning left them, a file each, until the model is saved."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from pruning_core.tensor_file import TensorFile


class LayerFiles:
    """A folder of decoder layers, by their places in the dense model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, place: int) -> bool:
        return self._file(place).exists()

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

    def _file(self, place: int) -> Path:
        return self._folder / f"layer-{place:05}.safetensors"
