"""Under what a share's losses are the same to the last bit."""

import hashlib

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pruning_core.arithmetic import arithmetic
from pruning_core.layered_model import LayeredModel


class Conditions(BaseModel):
    """What two processes must have in common for the losses of one to be those of the other, to the last bit.

    Attributes:
        windows: SHA-256 of the search windows' token ids.
        arithmetic: the device, the dtype, and the versions that compute.
    """

    model_config = ConfigDict(frozen=True)

    windows: str
    arithmetic: str

    @classmethod
    def of(cls, model: LayeredModel, windows: Tensor) -> "Conditions":
        """Those of this process, with all windows of its search, [windows, positions]."""
        return cls(
            windows=hashlib.sha256(windows.numpy().tobytes()).hexdigest(),
            arithmetic=f"{arithmetic(model.device)}, {model.dtype}",
        )
