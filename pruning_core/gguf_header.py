"""The header of a GGUF file as the `config.json` that transformers would make of it, without torch."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gguf import GGUFReader

_FIELDS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
}
_MODEL_TYPES = {"gemma3": "gemma3_text"}
"""Architectures whose `model_type` in transformers is another."""

_TERMS = {
    "general.license": "license",
    "general.license.name": "license_name",
    "general.license.link": "license_link",
    "general.languages": "language",
}
"""By the names that a model card has for them."""


@dataclass(frozen=True)
class Header:
    """What is read of a GGUF header.

    Attributes:
        config: the fields that planning needs.
        terms: the license and the languages, as far as they are said.
    """

    config: dict[str, Any]
    terms: dict[str, Any]


def read_gguf_config(path: Path) -> dict[str, Any]:
    """Read the fields that planning needs from a GGUF header.

    Raises:
        ValueError: the file is not GGUF.
    """
    return dict(_read_once(path).config)


def read_gguf_terms(path: Path) -> dict[str, Any]:
    """Read what a GGUF header says of the license and the languages, by the names that a model card has for them.

    Raises:
        ValueError: the file is not GGUF.
    """
    return dict(_read_once(path).terms)


def _read_once(path: Path) -> Header:
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=32)
def _read(path: Path, _modified: int, _size: int) -> Header:
    # Every token of the vocabulary is a field of its own: two seconds for 49,152, hence the cache.
    reader = GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    config: dict[str, Any] = {"model_type": _MODEL_TYPES.get(architecture, architecture)}
    for key, name in _FIELDS.items():
        field = reader.fields.get(f"{architecture}.{key}")
        if field is not None:
            config[name] = field.contents()
    if "vocab_size" not in config:
        config["vocab_size"] = len(reader.fields["tokenizer.ggml.tokens"].contents())
    config["tie_word_embeddings"] = all(tensor.name != "output.weight" for tensor in reader.tensors)
    terms = {name: reader.fields[key].contents() for key, name in _TERMS.items() if key in reader.fields}
    return Header(config, terms)
