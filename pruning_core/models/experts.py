"""A mixture's experts, which transformers keeps in two tensors, as one MLP each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.models.description import MlpRoles
from pruning_core.models.mlp import MlpChannels
from pruning_core.models.sizes import tell_sizes

_ROLES = MlpRoles(producers=("gate_up",), activation="activation", consumer="down", fused=2)


class Experts:
    """The MLPs in `gate_up_proj`, [experts, 2 channels, inputs], and `down_proj`, [experts, outputs, channels].

    Attributes:
        module: what holds the two tensors; its forward takes tokens, [tokens, inputs], the experts each of them goes
            to, and what each of these multiplies its output with, [tokens, chosen] both.
        mlps: each expert. They look into the tensors until they are changed; then `write` puts them back.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.mlps: Sequence[MlpChannels] = [
            MlpChannels(
                nn.ModuleDict(
                    {"gate_up": _linear(gate_up), "activation": module.act_fn, "down": _linear(down)}
                ),
                _ROLES,
            )
            for gate_up, down in zip(module.gate_up_proj, module.down_proj, strict=True)
        ]

    def write(self) -> None:
        """Put the experts back, which must be of one width."""
        for name, projections in (
            ("gate_up_proj", [mlp.producers[0] for mlp in self.mlps]),
            ("down_proj", [mlp.consumer for mlp in self.mlps]),
        ):
            weights = torch.stack([projection.weight.T for projection in projections])
            setattr(self.module, name, nn.Parameter(weights, requires_grad=False))
        tell_sizes(self.module)


def _linear(weight: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=False, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return linear
