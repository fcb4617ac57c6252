"""A finished checkpoint written once more, as a GGUF file, tensor by tensor."""

import os
from pathlib import Path
from typing import Any

import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter
from torch import Tensor
from transformers import PreTrainedConfig

from pruning_core.base_card import BaseCard
from pruning_core.disk_room import explaining_a_full_disk, reserve
from pruning_core.gguf_file.description import FILE_TYPES, add_origin, add_sizes
from pruning_core.gguf_file.tensors import Tensors
from pruning_core.gguf_file.vocabulary import Vocabulary
from pruning_core.recipe import Recipe, title_of

_TYPES = {
    torch.float32: GGMLQuantizationType.F32,
    torch.float16: GGMLQuantizationType.F16,
    torch.bfloat16: GGMLQuantizationType.BF16,
}


def write_gguf(  # noqa: PLR0917  what a file's header tells
    folder: Path,
    config: PreTrainedConfig,
    dtype: str,
    vocabulary: Vocabulary,
    recipe: Recipe,
    card: BaseCard,
) -> Path:
    """Write a GGUF file into the folder of a finished checkpoint.

    It takes the memory of one tensor, and the same checkpoint gives the same bytes.

    Args:
        folder: with the checkpoint's safetensors and tokenizer.
        config: the checkpoint's.
        dtype: of its matrices, there as here.
        vocabulary: the base model's.
        recipe: how the checkpoint was made.
        card: what the base model's publisher says of it.

    Returns:
        The file, whose name says the dtype: `model-BF16.gguf`.

    Raises:
        DiskFullError: there is no room; no file is left then.
    """
    tensors = Tensors(folder, config)
    writer = GGUFWriter(None, MODEL_ARCH_NAMES[tensors.architecture])
    add_origin(writer, title_of(recipe), dtype, recipe.model, card)
    add_sizes(writer, config)
    vocabulary.add_to(writer, folder)
    for name, shape in tensors.shapes.items():
        numbers = _numbers(torch.empty(0, dtype=shape.dtype))
        writer.add_tensor_info(name, shape.shape, numbers.dtype, shape.nbytes, _TYPES[shape.dtype])

    file = folder / f"model-{FILE_TYPES[dtype].name.rpartition('_')[2]}.gguf"
    partial = file.with_name(f"{file.name}.partial")
    try:
        _write(writer, tensors, partial)
        partial.replace(file)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
    return file


def _write(writer: GGUFWriter, tensors: Tensors, file: Path) -> None:
    with explaining_a_full_disk(file.stem):
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    assert writer.fout is not None  # noqa: S101  it was just opened
    (opened,) = writer.fout
    # Header and tensors are each filled up to a multiple of the alignment.
    sizes = [opened.tell(), *(shape.nbytes for shape in tensors.shapes.values())]
    reserve(opened.fileno(), sum(writer.ggml_pad(size, writer.data_alignment) for size in sizes), file.stem)
    with explaining_a_full_disk(file.stem):
        for name in tensors.shapes:
            writer.write_tensor_data(_numbers(tensors.read(name)))
        writer.flush()
        os.fsync(opened.fileno())


def _numbers(tensor: Tensor) -> Any:
    """As numpy has them, which knows no bfloat16: its bits are taken for those of whole numbers."""
    return (tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor).numpy()
