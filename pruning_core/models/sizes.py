"""What modules say of their sizes beside their weights."""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def tell_sizes(module: Any) -> None:
    """Let a linear, or what holds a mixture's experts, name the sizes that its weights have now."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = module.weight.shape
    elif hasattr(module, "intermediate_dim"):
        module.intermediate_dim = module.down_proj.shape[-1]
