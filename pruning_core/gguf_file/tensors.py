"""A finished checkpoint's weights as llama.cpp wants them: other names, another order of rows, vectors in float32."""

from collections.abc import Mapping
from pathlib import Path

import torch
from gguf import MODEL_ARCH, get_tensor_name_map
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pruning_core.gguf_file.support import ARCHITECTURES
from pruning_core.models.grouped_query import head_dimension
from pruning_core.weight_files import WeightFiles

ROPE_FACTORS = "rope_freqs.weight"
"""What llama.cpp divides the frequencies by that a head's dimensions rotate with."""


class Tensors:
    """The tensors of a GGUF file, read one at a time from a checkpoint's safetensors.

    Attributes:
        architecture: what llama.cpp calls the family.
        shapes: of each tensor by its name there, on the meta device.
    """

    def __init__(self, folder: Path, config: PreTrainedConfig) -> None:
        """Find them.

        Args:
            folder: the checkpoint's.
            config: the checkpoint's.
        """
        self.architecture: MODEL_ARCH = ARCHITECTURES[config.model_type]
        self._config = config
        self._files = WeightFiles.of(folder, str(folder))
        names = get_tensor_name_map(self.architecture, config.num_hidden_layers)
        self._stored: dict[str, str] = {}
        for stored in self._files.names:
            name = names.get_name(stored, (".weight", ".bias"))
            assert name is not None, stored  # noqa: S101  these families have no others
            self._stored[name] = stored
        self.shapes: Mapping[str, Tensor] = self._shapes()

    def read(self, name: str) -> Tensor:
        """Read a tensor, by its name in the GGUF file."""
        if name == ROPE_FACTORS:
            return self._rope_factors()
        stored = self._stored[name]
        tensor = self._files.read(stored).to(self.shapes[name].dtype)
        if self.architecture is not MODEL_ARCH.LLAMA:
            return tensor
        match stored.split(".")[-2]:
            case "q_proj":
                return _interleave(tensor, self._config.num_attention_heads)
            case "k_proj":
                return _interleave(tensor, self._config.num_key_value_heads)
        return tensor

    def _shapes(self) -> dict[str, Tensor]:
        shapes = {}
        if self._config.rope_parameters["rope_type"] == "llama3":
            shapes[ROPE_FACTORS] = self._rope_factors().to("meta")
        for name, stored in self._stored.items():
            shape = self._files.shape(stored)
            # llama.cpp computes norms and biases in float32, and takes them in nothing else.
            dtype = torch.float32 if len(shape) == 1 else self._files.dtype(stored)
            shapes[name] = torch.empty(shape, dtype=dtype, device="meta")
        return shapes

    def _rope_factors(self) -> Tensor:
        """How many times slower each pair of a head's dimensions rotates than without scaling."""
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](self._config, torch.device("cpu"))
        dimension = head_dimension(self._config.to_dict())
        steps = torch.arange(0, dimension, 2, dtype=torch.float32) / dimension
        factors: Tensor = 1.0 / self._config.rope_parameters["rope_theta"] ** steps / scaled
        return factors


def _interleave(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows of a query or key projection, [heads × dimensions, hidden size].

    transformers rotates a head's dimension i together with the one half a head further, and llama.cpp, in this family,
    with the next.
    """
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
