"""What decides the last bit of what is computed."""

import platform

import torch
import transformers


def arithmetic(device: torch.device) -> str:
    """Name the device and the versions that compute: elsewhere a sum may be added up in another order."""
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    else:
        # Threads split a matrix product, and so decide in which order it is added up.
        capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
        where = f"{device.type} {platform.machine()} {capability}, {threads} threads"
    return f"{where}, torch {torch.__version__}, transformers {transformers.__version__}"
