"""A checkpoint read into memory, and a pruned model written as one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from pruning_core import published_checkpoint
from pruning_core.companions import GENERATION, write_companions
from pruning_core.disk_room import explaining_a_full_disk
from pruning_core.errors import UnsupportedFamilyError
from pruning_core.export import export_weights
from pruning_core.finiteness import require_finite_weights
from pruning_core.layered_model import LayeredModel
from pruning_core.loaded_weights import require_loaded
from pruning_core.model_source import ModelSource
from pruning_core.stored_weights import stored_weights, weights_folder
from pruning_core.weight_files import WeightFiles


def quieten() -> None:
    """Leave progress to our own events."""
    logging.disable_progress_bar()


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


def load_config(source: ModelSource) -> PreTrainedConfig:
    """Load the config of a family of transformers.

    Raises:
        UnsupportedFamilyError: the installed transformers is too old to have the family.
    """
    _require_known(source)
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        source.location, trust_remote_code=False, **_where(source)
    )
    return config


def load_generation_config(source: ModelSource, model: PreTrainedModel) -> None:
    """Give a model that was not loaded at once the generation config beside its weights, if there is one."""
    if GENERATION in source.files:
        model.generation_config = GenerationConfig.from_pretrained(source.location, **_where(source))


def load_model(source: ModelSource, dtype: str, device: torch.device) -> PreTrainedModel:
    """Load a checkpoint in its own dtype (`auto`) or the one asked for; a GGUF file is dequantised to float32.

    Raises:
        BrokenModelError: a weight is not finite.
        UnreadableModelError: the weights are damaged, or not those that the model should have.
        UnreachableHubError: the Hub does not answer, and they are not in the local cache.
        UnsupportedFamilyError: the installed transformers is too old to have the family.
    """
    quieten()
    # transformers' decorated `to` is typed as if it took another model.
    model: Any
    if source.own_code is not None:
        model = published_checkpoint.load_model(source, source.own_code, dtype)
    elif source.gguf_file is not None:
        model = AutoModelForCausalLM.from_pretrained(
            source.location, dtype=dtype, trust_remote_code=False, **_where(source)
        )
    else:
        model = _load_native(source, dtype)
    require_finite_weights(model.named_parameters())
    moved: PreTrainedModel = model.to(device)
    return moved


def _load_native(source: ModelSource, dtype: str) -> PreTrainedModel:
    _require_known(source)
    model = source.reference.id
    folder = weights_folder(source)
    options: dict[str, Any] = {
        "dtype": dtype,
        # Otherwise a traceback; refused below.
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
    }
    # transformers types what comes without loading info.
    kind: Any = AutoModelForCausalLM
    found = not source.pickled and WeightFiles.of(folder, model).indexed
    # transformers would read the file that such a field names, which may even be pickled.
    if not found or "transformers_weights" in source.config:
        config = load_config(source)
        weights = dict(stored_weights(source, folder))
        kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        made, loaded = kind.from_pretrained(None, config=config, state_dict=weights, **options)
        load_generation_config(source, made)
    else:
        made, loaded = kind.from_pretrained(
            source.location,
            trust_remote_code=False,
            use_safetensors=True,
            weights_only=True,
            **options,
            **_where(source),
        )
    # Others than those it reads do no harm: some checkpoints keep masks and positions.
    require_loaded(model, loaded, ("missing", "mismatched"))
    whole: PreTrainedModel = made
    return whole


def count_parameters(source: ModelSource, model: PreTrainedModel) -> int:
    """Count the parameters of a model loaded from `source`, tied weights once."""
    if source.own_code is not None:
        return published_checkpoint.count_parameters(model, source.own_code)
    total: int = model.num_parameters()
    return total


def save(
    model: LayeredModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    source: ModelSource,
    shard_bytes: int,
    *,
    companions: Mapping[str, bytes],
) -> None:
    """Write a checkpoint that plain `from_pretrained` loads: weights, generation config, tokenizer, and at last config.

    Code that the model was loaded by goes with it, if that was its own; `companions` do in any case.

    Raises:
        DiskFullError: there is no room.
    """
    module = model.model
    if source.own_code is not None and source.own_code.in_place:
        # Only the class itself knows how its code is written; it is in memory as a whole.
        module.save_pretrained(folder, max_shard_size=shard_bytes)
        tokenizer.save_pretrained(folder)
        write_companions(companions, folder)
        published_checkpoint.keep_code(source, source.own_code, module, folder)
        return
    _forget_gguf(module)
    _forget_code(module, tokenizer)
    export_weights(model, folder, shard_bytes)
    module.config.dtype = str(model.dtype).removeprefix("torch.")
    module.config.architectures = [type(module).__name__]
    with explaining_a_full_disk(f"the tokenizer and the config in {folder}"):
        tokenizer.save_pretrained(folder)
        if GENERATION not in companions and module.can_generate():
            module.generation_config.save_pretrained(folder)
        write_companions(companions, folder)
        module.config.save_pretrained(folder)


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


def _forget_code(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Name no code that is not there: who loads the result and trusts it would look for it, or run the base model's.

    A tokenizer that was made by code of its own names it again when it is saved.
    """
    for settings in (vars(model.config), tokenizer.init_kwargs):
        settings.pop("auto_map", None)


def _where(source: ModelSource) -> dict[str, Any]:
    where = {"gguf_file": source.gguf_file, "revision": source.reference.revision}
    return {name: value for name, value in where.items() if value is not None}
