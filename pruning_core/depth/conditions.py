"""Under what a share's losses are the same to the last bit."""

import hashlib
import platform

import torch
import transformers
from pydantic import BaseModel, ConfigDict
from torch import Tensor

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
        if model.device.type == "cuda":
            device = f"{torch.cuda.get_device_name(model.device)}, CUDA {torch.version.cuda}"
        else:
            # Threads split a matrix product, and so decide in which order it is added up.
            capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
            device = f"{model.device.type} {platform.machine()} {capability}, {threads} threads"
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
        return cls(
            windows=hashlib.sha256(windows.numpy().tobytes()).hexdigest(),
            arithmetic=f"{device}, {model.dtype}, {versions}",
        )
