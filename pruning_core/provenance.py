"""With what, and in how much memory, a result was made."""

import importlib.metadata
import platform
import resource
import sys

PACKAGES = ("secateur", "torch", "transformers", "tokenizers", "safetensors")


def installed_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def peak_rss_bytes() -> int:
    """The most memory this process has had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
