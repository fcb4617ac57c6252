"""What llama.cpp calls the ways in which byte-level tokenizers cut a text into words.

It has each of them in code of its own, and goes by a name in the file. Its converter tells which one a tokenizer needs
by a hash of the tokens of one text; here the definition in `tokenizer.json` is held against those known.
"""

from collections.abc import Mapping
from typing import Any

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bytes(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


_STEPS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_bytes(use_regex=True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _bytes(use_regex=True)],
    "llama-bpe": [_split(_LLAMA3), _bytes(use_regex=False)],
    "qwen2": [_split(_QWEN2), _bytes(use_regex=False)],
}
_IGNORES_MERGES = {"llama-bpe"}
"""Of which llama.cpp takes a word that is a token as that token, whatever the merges would make of it."""


def name_of(tokenizer: Mapping[str, Any]) -> str | None:
    """Find the name of how a byte-level BPE tokenizer cuts words.

    Args:
        tokenizer: a `tokenizer.json`.

    Returns:
        llama.cpp's name; None if none of those known does the same.
    """
    whole = tokenizer.get("pre_tokenizer") or {}
    steps = [_essence(step) for step in whole.get("pretokenizers", [whole])]
    ignores_merges = bool(tokenizer["model"].get("ignore_merges"))
    for name, known in _STEPS.items():
        if steps == known and ignores_merges == (name in _IGNORES_MERGES):
            return name
    return None


def _essence(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step without what changes no tokens, and with what older files leave out."""
    rest = {name: value for name, value in step.items() if name != "trim_offsets"}
    return {"use_regex": True, **rest} if rest.get("type") == "ByteLevel" else rest
