"""With what, and in how much memory, a result was made."""

import importlib.metadata
import platform
import resource
import sys

import torch

PACKAGES = ("secateur", "torch", "transformers", "tokenizers", "safetensors")


def installed_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def peak_rss_bytes() -> int:
    """The most memory this process has had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes() -> int | None:
    """The most memory that tensors of this process have taken on a GPU so far; None if it has used none."""
    if not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count()))
