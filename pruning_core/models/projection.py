"""A linear map of a model, however its module stores it."""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pruning_core.models.sizes import tell_sizes


class Projection:
    """y = x W + b, with W as the papers write it, [inputs, outputs].

    Attributes:
        module: the linear; GPT-2's store their weight the other way round.
    """

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Linear | Conv1D)  # noqa: S101  a family's description is wrong, not the user's input
        self.module = module

    def __call__(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.module(inputs)
        return outputs

    @property
    def weight(self) -> Tensor:
        """W, [inputs, outputs]."""
        return self._turned(self.module.weight.detach())

    @property
    def bias(self) -> Tensor | None:
        """[outputs], None where there is none."""
        bias: Tensor | None = self.module.bias
        return None if bias is None else bias.detach()

    @property
    def inputs(self) -> int:
        return self.weight.shape[0]

    @property
    def outputs(self) -> int:
        return self.weight.shape[1]

    def set(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take another weight, [inputs, outputs], of any sizes, and a bias if there is one, in the module's dtype."""
        stored = self.module.weight
        self.module.weight = _parameter(self._turned(weight), stored)
        if bias is not None:
            self.module.bias = _parameter(bias, stored)
        tell_sizes(self.module)

    def _turned(self, weight: Tensor) -> Tensor:
        return weight.T if isinstance(self.module, nn.Linear) else weight


def _parameter(values: Tensor, like: Tensor) -> nn.Parameter:
    values = values.to(dtype=like.dtype, device=like.device, memory_format=torch.contiguous_format, copy=True)
    return nn.Parameter(values, requires_grad=False)
