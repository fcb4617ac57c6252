"""How what an MLP or an attention gives is added to the residual stream."""

import torch
from torch import Tensor, nn

from pruning_core.models.description import AttentionRoles, MlpRoles

NORM_DAMPING = 0.01
"""Of the outputs that a norm all but silences, as a share of the mean square of its gains: to move the residual stream
through them would take too much."""


class Junction:
    """Adds an output to the residual stream, behind a norm or with a factor where the family has them."""

    def __init__(self, layer: nn.Module, roles: MlpRoles | AttentionRoles) -> None:
        self._norm = layer.get_submodule(roles.norm) if roles.norm else None
        self._multiplier: float = getattr(layer, roles.multiplier) if roles.multiplier else 1.0

    def add(self, beside: Tensor, output: Tensor) -> Tensor:
        """Give `beside`, the residual stream, [windows, positions, outputs], an output, [tokens, outputs]."""
        output = output.view_as(beside)
        if self._norm is not None:
            output = self._norm(output)
        # As it was where nothing is done to it, to the last bit.
        return beside + (output if self._multiplier == 1 else output * self._multiplier)

    def pull_back(self, missing: Tensor, output: Tensor) -> Tensor:
        """How much more should be given for the residual stream to have `missing` more, [tokens, outputs] both.

        The norm's scale is taken as it is for `output`, [tokens, outputs]: an RMS norm then multiplies each output by a
        gain, which is undone as a damped least squares.
        """
        missing = missing / self._multiplier
        if self._norm is None:
            return missing
        unit = torch.ones(1, output.shape[1], dtype=output.dtype, device=output.device)
        size = output.float().square().mean(dim=1, keepdim=True).sqrt()
        gain = self._norm(unit).float() / size.clamp(min=torch.finfo(torch.float32).tiny)
        squared = gain.square()
        damped = squared + NORM_DAMPING * squared.mean(dim=1, keepdim=True)
        more: Tensor = missing.float() * gain / damped
        return more.to(missing.dtype)
