"""A checkpoint read into memory, and a pruned model written as one."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from pruning_core import published_checkpoint
from pruning_core.errors import UnsupportedFamilyError
from pruning_core.finiteness import require_finite_weights
from pruning_core.model_source import ModelSource

SHARD_SIZE = "5GB"


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load what cuts texts for a checkpoint.

    Raises:
        UnsupportedFamilyError: the installed transformers is too old to have the family.
    """
    if source.own_code is not None:
        return published_checkpoint.load_tokenizer(source, source.own_code)
    _require_known(source)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        source.location, trust_remote_code=False, **_where(source)
    )
    return tokenizer


def load_model(source: ModelSource, dtype: str, device: torch.device) -> PreTrainedModel:
    """Load a checkpoint in its own dtype (`auto`) or the one asked for; a GGUF file is dequantised to float32.

    Raises:
        BrokenModelError: a weight is not finite.
        UnreadableModelError: the weights of a model with code of its own are not those it should have.
        UnsupportedFamilyError: the installed transformers is too old to have the family.
    """
    logging.disable_progress_bar()
    # transformers' decorated `to` is typed as if it took another model.
    model: Any
    if source.own_code is not None:
        model = published_checkpoint.load_model(source, source.own_code, dtype)
    else:
        _require_known(source)
        model = AutoModelForCausalLM.from_pretrained(
            source.location, dtype=dtype, trust_remote_code=False, **_where(source)
        )
    require_finite_weights(model)
    moved: PreTrainedModel = model.to(device)
    return moved


def count_parameters(source: ModelSource, model: PreTrainedModel) -> int:
    """Count the parameters of a model loaded from `source`, tied weights once."""
    if source.own_code is not None:
        return published_checkpoint.count_parameters(model, source.own_code)
    total: int = model.num_parameters()
    return total


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    source: ModelSource | None = None,
) -> None:
    """Write a checkpoint that plain `from_pretrained` loads: weights, config, generation config, tokenizer.

    With it goes the code that the model was loaded by, if `source` says that it was its own.
    """
    _forget_gguf(model)
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(folder)
    if source is not None and source.own_code is not None and source.own_code.in_place:
        published_checkpoint.keep_code(source, source.own_code, model, folder)


def _require_known(source: ModelSource) -> None:
    # Preflight goes by the descriptions, and runs where transformers may not be installed.
    model_type = source.config["model_type"]
    if model_type not in CONFIG_MAPPING:
        raise UnsupportedFamilyError(
            "model",
            source.reference.id,
            f"its model_type is {model_type!r}, which the worker's transformers {transformers.__version__} does not "
            "have yet.",
            "Install a newer transformers, or name a model of another family.",
        )


def _forget_gguf(model: Any) -> None:
    """Let a model save that was dequantised while it was loaded, but still calls itself quantised."""
    if getattr(model, "hf_quantizer", None) is not None:
        del model.config.quantization_config
        model.hf_quantizer = None
        model.is_quantized = False


def _where(source: ModelSource) -> dict[str, Any]:
    where = {"gguf_file": source.gguf_file, "revision": source.reference.revision}
    return {name: value for name, value in where.items() if value is not None}
