"""With what, on what, and in how much memory, a result was made."""

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path

import psutil
import torch

from pruning_core.result import Machine

PACKAGES = (
    "secateur",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "gguf",
    "datasets",
    "huggingface_hub",
)

PROCESSORS = Path("/proc/cpuinfo")


def installed_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def describe_machine(device: torch.device) -> Machine:
    """Describe this machine as one that prunes on `device`; it is not named."""
    on_gpu = device.type == "cuda"
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        capability=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
        gpu=torch.cuda.get_device_name(device) if on_gpu else None,
        cuda=torch.version.cuda if on_gpu else None,
    )


def _processor() -> str:
    if PROCESSORS.exists():
        for line in PROCESSORS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    # As on ARM, whose kernels do not name it.
    return platform.processor() or platform.machine()


def peak_rss_bytes() -> int:
    """The most memory this process has had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes() -> int | None:
    """The most memory that tensors of this process have taken on a GPU so far; None if it has used none."""
    if not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count()))
