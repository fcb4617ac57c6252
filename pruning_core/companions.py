"""Files of the base model that go with the pruned weights as they are: its license, and how it generates.

Of what else lies in a folder or a repository nothing does: optimizer states, logs and keys are nobody's business. The
tokenizer, its chat template and the model's own code are written by those who loaded them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pruning_core.model_source import ModelSource

GENERATION = "generation_config.json"

_LEGAL = re.compile(
    # Somebody's license key is no license.
    r"(?!.*(?:key|token|secret))"
    r"(?:[a-z0-9]+[-_ ]){0,2}(?:licen[cs]e|copying|copyright|notice|terms|use[-_ ]policy)s?"
    r"(?:[-_ ][a-z0-9]+(?:\.\d+)*)*"
    r"(?:\.(?:txt|md|rst|html|pdf))?",
    re.IGNORECASE,
)


def is_legal(name: str) -> bool:
    """Tell by a file's name whether it says under which terms the model may be used."""
    return _LEGAL.fullmatch(name) is not None


def read_companions(source: ModelSource) -> dict[str, bytes]:
    """Read what goes along, by name; of a GGUF file nothing, since what lies beside it need not belong to it.

    Raises:
        UnreachableHubError: the Hub does not answer, and they are not in the local cache.
    """
    names = [name for name in source.files if name == GENERATION or is_legal(name)]
    files = {name: source.small_file(name) for name in names}
    return {name: file.read_bytes() for name, file in files.items() if file is not None}


def write_companions(companions: Mapping[str, bytes], folder: Path) -> None:
    """Write them into a checkpoint's folder."""
    for name, content in companions.items():
        (folder / name).write_bytes(content)
