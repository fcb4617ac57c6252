"""The header of a GGUF file as the `config.json` that transformers would make of it, without torch."""

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


def read_gguf_config(path: Path) -> dict[str, Any]:
    """Read the fields that planning needs from a GGUF header.

    Raises:
        ValueError: the file is not GGUF.
    """
    stat = path.stat()
    return dict(_read(path, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=32)
def _read(path: Path, _modified: int, _size: int) -> dict[str, Any]:
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
    return config
