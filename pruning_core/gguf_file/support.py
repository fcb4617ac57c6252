"""Whether llama.cpp would compute from a GGUF file what transformers computes from the checkpoint; without torch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gguf import MODEL_ARCH

from pruning_core.errors import UnsupportedFormatError
from pruning_core.gguf_file.vocabulary import read_published_vocabulary
from pruning_core.model_source import ModelSource
from pruning_core.models.description import Config

ARCHITECTURES = MappingProxyType({"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2})
"""What llama.cpp calls each `model_type` that can be written."""

_ROPE_TYPES = {"llama": ("default", "llama3"), "qwen2": ("default",)}

_REMEDY = 'Leave "gguf" out of formats'


def require_gguf(source: ModelSource, config: Config) -> None:
    """Refuse a model that a GGUF file cannot hold.

    Args:
        source: where the model is.
        config: its config, with the family's defaults.

    Raises:
        UnsupportedFormatError: another family than Llama or Qwen2, a variant that llama.cpp does not compute, or a
            tokenizer that it does not have.
        UnreadableModelError: the tokenizer cannot be read.
    """
    model_type = config["model_type"]
    if model_type not in ARCHITECTURES:
        raise UnsupportedFormatError(
            "formats",
            "gguf",
            f"a model of the family {model_type!r} cannot be written as GGUF.",
            f"{_REMEDY}, or name a model of one of these: {', '.join(ARCHITECTURES)}.",
        )
    reason = _unknown_to_llama_cpp(model_type, config)
    if reason is not None:
        raise UnsupportedFormatError("formats", "gguf", f"{reason}.", f"{_REMEDY}, or name another model.")
    # A GGUF file's own vocabulary is taken over as it is.
    if source.gguf_file is None:
        read_published_vocabulary(source, config["vocab_size"])


def _unknown_to_llama_cpp(model_type: str, config: Config) -> str | None:
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        return f"its hidden_act is {activation!r}, and llama.cpp computes 'silu' for this family"
    for field in ("attention_bias", "mlp_bias", "use_sliding_window"):
        if config.get(field):
            return f"its {field} is true, which a GGUF file does not say for this family"
    rope = _rope(config)
    rope_type = rope.get("rope_type") or rope.get("type") or "default"
    if rope_type not in _ROPE_TYPES[model_type]:
        known = " or ".join(map(repr, _ROPE_TYPES[model_type]))
        return f"its rope_type is {rope_type!r}, and only {known} can be written for this family"
    if rope.get("partial_rotary_factor", 1) != 1:
        return "its partial_rotary_factor is not 1, and all of a head's dimensions are rotated in a GGUF file"
    return None


def _rope(config: Config) -> Mapping[str, Any]:
    # transformers 4 had it under the second name.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return rope if isinstance(rope, Mapping) else {}
