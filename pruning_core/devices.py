"""Where tensors live and in what precision they are solved."""

import torch

from pruning_core.errors import UnknownDeviceError


def find_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1`, … into a device that is there.

    Raises:
        UnknownDeviceError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnknownDeviceError(
            "device", name, "this machine has no such device.", "Use auto, or cpu."
        ) from error
    return device
