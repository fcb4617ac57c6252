"""A checkpoint with code of its own: converted to its twin while it is read, or loaded by that code."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from pruning_core import hub
from pruning_core.loaded_weights import require_loaded
from pruning_core.model_code import ModelCode
from pruning_core.model_source import ModelSource, OwnCode
from pruning_core.stored_weights import stored_weights
from pruning_core.tokenizer_source import SETTINGS_FILE, require_tokenizer
from pruning_core.weight_files import WeightFiles
from pruning_core.weight_formats import MODEL_FILES, pickled_weights

NOT_LINKED = {"config.json", SETTINGS_FILE, "adapter_config.json"}
"""Files that name what is loaded: those that were looked at are written anew, and an adapter's is not wanted."""


def load_tokenizer(source: ModelSource, own_code: OwnCode) -> PreTrainedTokenizerBase:
    """Load the tokenizer, by code of its own only where there is no other way and the operator allows it.

    Raises:
        UntrustedCodeError, UnreadableModelError: see `require_tokenizer`.
    """
    settings = require_tokenizer(source)
    folder = _fetch(source)
    if source.tokenizer_file is not None:
        plain: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder)
        return plain
    tokenizer: PreTrainedTokenizerBase
    if settings is not None:
        with _private_copy(source, own_code, folder) as copy:
            (copy / SETTINGS_FILE).write_text(json.dumps(settings))
            tokenizer = AutoTokenizer.from_pretrained(copy, trust_remote_code=True)
    else:
        # With the native config, because the published one would have to be read by code.
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=_native_config(own_code), trust_remote_code=False
        )
    return tokenizer


def load_model(source: ModelSource, own_code: OwnCode, dtype: str) -> PreTrainedModel:
    """Load the model as its twin, or by its own code.

    Raises:
        UnreadableModelError: the weights are damaged, or not those of such a model.
    """
    folder = _fetch(source)
    if not source.pickled:
        WeightFiles.of(folder, source.reference.id)
    # transformers types what comes without loading info.
    kind: Any
    if own_code.in_place:
        kind = AutoModelForCausalLM
        with _private_copy(source, own_code, folder) as copy:
            model, loaded = kind.from_pretrained(
                copy,
                dtype=dtype,
                trust_remote_code=True,
                use_safetensors=not source.pickled,
                weights_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    else:
        config = _native_config(own_code)
        kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        model, loaded = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(_native_weights(source, own_code, folder)),
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        if (folder / "generation_config.json").exists():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    require_loaded(source.reference.id, loaded, ("missing", "unexpected", "mismatched"))
    whole: PreTrainedModel = model
    return whole


def count_parameters(model: PreTrainedModel, own_code: OwnCode) -> int:
    """Count the published model's parameters, tied weights once, without what its twin had to add."""
    total: int = model.num_parameters()
    if own_code.in_place:
        return total
    added = own_code.model.twin.added
    return total - sum(weight.numel() for name, weight in model.named_parameters() if name.endswith(added))


def keep_code(source: ModelSource, own_code: OwnCode, model: PreTrainedModel, output: Path) -> None:
    """Put the code that ran beside the pruned weights, and the names of its classes into the config."""
    _code_of(own_code, _fetch(source)).write(output)
    model.config.auto_map = dict(source.config["auto_map"])
    model.config.save_pretrained(output)


def _fetch(source: ModelSource) -> Path:
    """The folder of a model; one on the Hub is downloaded first, at its commit."""
    if source.folder is not None:
        return source.folder
    return hub.model_folder(source.reference, [*MODEL_FILES, *pickled_weights(source.files)])


def _code_of(own_code: OwnCode, folder: Path) -> ModelCode:
    return own_code.files or ModelCode.read(folder)


@contextmanager
def _private_copy(source: ModelSource, own_code: OwnCode, folder: Path) -> Iterator[Path]:
    """Lend a folder with what was looked at and nobody can change before it runs, and with links to everything else.

    That is the code and the settings, which name the classes and could name those of another repository by now.
    """
    with tempfile.TemporaryDirectory() as made:
        # transformers names modules by it, and keeps them: not another name each time.
        copy = Path(made) / "model"
        copy.mkdir()
        _code_of(own_code, folder).write(copy)
        (copy / "config.json").write_text(json.dumps(dict(source.config)))
        for file in folder.iterdir():
            if file.is_file() and file.suffix != ".py" and file.name not in NOT_LINKED:
                (copy / file.name).symlink_to(file.resolve())
        yield copy


def _native_config(own_code: OwnCode) -> PreTrainedConfig:
    fields = own_code.model.twin.config(own_code.config)
    config: PreTrainedConfig = AutoConfig.for_model(fields.pop("model_type"), **fields)
    return config


def _native_weights(source: ModelSource, own_code: OwnCode, folder: Path) -> Iterator[tuple[str, Tensor]]:
    for name, weight in stored_weights(source, folder):
        yield from own_code.model.twin.weights(name, weight, own_code.config)
