"""Checkpoints as they come off a disk or a network: whole, cut short, damaged, or with an index that is wrong."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from pruning_core.errors import UnreadableModelError
from pruning_core.weight_files import WeightFiles
from pruning_core.weight_formats import INDEX, SINGLE

UP = "model.layers.2.mlp.up_proj.weight"
UP_BYTES = 256 * 32 * 4


@pytest.fixture
def single(tiny_llama: Path, tmp_path: Path) -> Path:
    """A checkpoint in one file, to be damaged."""
    return shutil.copytree(tiny_llama, tmp_path / "single")


@pytest.fixture
def sharded(tiny_llama: Path, tmp_path: Path) -> Path:
    """The same in several files with an index."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    return tmp_path / "sharded"


def weights_of(folder: Path) -> dict[str, Tensor]:
    return {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}


def refusal(folder: Path, *parts: str) -> None:
    """Opening is refused, in words that hold `parts`."""
    with pytest.raises(UnreadableModelError) as refused:
        WeightFiles.of(folder, "the-model")
    error = refused.value
    assert (error.field, error.value) == ("model", "the-model")
    assert error.remedy
    for part in parts:
        assert part in error.reason


def header_of(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def rewrite_header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the header says, and leave the tensors' bytes as they are."""
    header = header_of(file)
    change(header)
    put_header(file, json.dumps(header).encode())


def put_header(file: Path, header: bytes) -> None:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    file.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


def rewrite_index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def shard_of(folder: Path, name: str) -> Path:
    place: str = json.loads((folder / INDEX).read_text())["weight_map"][name]
    return folder / place


def without_index(folder: Path) -> Path:
    (folder / INDEX).unlink()
    return folder


@pytest.mark.parametrize("layout", ["single", "sharded", "without_index"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_are_described_and_read_as_they_were_saved(
    request: pytest.FixtureRequest, layout: str, dtype: torch.dtype
) -> None:
    folder: Path = request.getfixturevalue("single" if layout == "single" else "sharded")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    model.save_pretrained(folder, max_shard_size="1GB" if layout == "single" else "100KB")
    if layout == "without_index":
        without_index(folder)
    files, saved = WeightFiles.of(folder, "the-model"), weights_of(folder)
    assert set(files.names) == set(saved)
    assert files.total_bytes == sum(weight.nbytes for weight in saved.values())
    assert len({files.file_of(name) for name in files.names}) == len(list(folder.glob("*.safetensors")))
    for name, weight in saved.items():
        assert (files.shape(name), files.dtype(name), files.bytes(name)) == (
            weight.shape,
            dtype,
            weight.nbytes,
        )
        assert torch.equal(files.read(name), weight)
    assert files.bytes_read == files.total_bytes


def test_names_are_in_the_order_of_the_bytes(single: Path) -> None:
    starts = {name: entry.get("data_offsets") for name, entry in header_of(single / SINGLE).items()}
    del starts["__metadata__"]
    assert list(WeightFiles.of(single, "the-model").names) == sorted(starts, key=starts.__getitem__)


def test_one_file_goes_before_an_index_as_transformers_has_it(single: Path) -> None:
    (single / INDEX).write_text("not read")
    assert WeightFiles.of(single, "the-model").names


def test_files_that_the_index_does_not_name_are_left_alone(sharded: Path) -> None:
    """Some repositories have the same weights once more in another layout, as `consolidated.safetensors`."""
    (sharded / "consolidated.safetensors").write_bytes(b"anything")
    files = WeightFiles.of(sharded, "the-model")
    assert all(files.file_of(name).name.startswith("model-") for name in files.names)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists a process's maps")
def test_what_was_read_is_not_mapped_any_more_and_outlives_its_file(single: Path) -> None:
    files = WeightFiles.of(single, "the-model")
    weight, saved = files.read(UP), weights_of(single)[UP].clone()
    assert str(single) not in Path("/proc/self/maps").read_text()
    (single / SINGLE).unlink()
    assert torch.equal(weight, saved)


def test_two_threads_read_and_all_bytes_are_counted(sharded: Path) -> None:
    files = WeightFiles.of(sharded, "the-model")
    with ThreadPoolExecutor(2) as threads:
        read = list(threads.map(files.read, files.names * 3))
    assert sum(weight.nbytes for weight in read) == files.bytes_read == 3 * files.total_bytes


def test_a_file_that_is_cut_short_is_refused_with_the_first_tensor_that_is_not_whole(sharded: Path) -> None:
    shard = shard_of(sharded, UP)
    header = header_of(shard)
    start, end = header[UP]["data_offsets"]
    total = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    kept = shard.stat().st_size - total + end - 1
    os.truncate(shard, kept)
    refusal(
        sharded,
        f"{shard.name} is cut short: its tensors take {total} bytes and {end - 1} are there",
        f"{UP}, of bytes {start} to {end}, is the first that is not whole",
    )


@pytest.mark.parametrize("size", [0, 7, 8, 500])
def test_a_file_that_is_cut_short_in_its_header_is_refused(single: Path, size: int) -> None:
    os.truncate(single / SINGLE, size)
    refusal(single, f"{SINGLE} has {size} bytes, which is too few for a header")


def test_a_file_with_bytes_that_no_tensor_owns_is_refused(single: Path) -> None:
    file = single / SINGLE
    total = WeightFiles.of(single, "the-model").total_bytes
    file.write_bytes(file.read_bytes() + b"more")
    refusal(single, f"{SINGLE} has {total + 4} bytes behind its header, and its tensors take {total}")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"\x80\x81", "has a header that cannot be read ('utf-8' codec"),
        (b'{"one": ', "has a header that cannot be read (Expecting value"),
        (b"[" * 100_000, "has a header that cannot be read (maximum recursion depth"),
        (b"[1, 2]", "has a header that is not an object"),
        (b'{"a.weight": {}, "a.weight": {}}', "has a header that cannot be read (it has a.weight twice)"),
        (b'{"a.weight": 1}', "has a header without the dtype, the shape or the place of the tensor a.weight"),
    ],
)
def test_a_header_that_is_none_is_refused(single: Path, header: bytes, reason: str) -> None:
    put_header(single / SINGLE, header)
    refusal(single, f"{SINGLE} {reason}")


def test_a_header_that_is_longer_than_the_format_allows_is_refused(single: Path) -> None:
    with (single / SINGLE).open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        # A file with a hole, which takes no room.
        file.truncate(200_000_000)
    refusal(single, f"{SINGLE} has a header of 100000001 bytes, and 100000000 are the most")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", None),
        ("dtype", 4),
        ("shape", "32"),
        ("shape", [256, -32]),
        ("shape", [256.0, 32]),
        ("shape", [True, 32]),
        ("data_offsets", [0]),
        ("data_offsets", [0, 1, 2]),
        ("data_offsets", ["0", "1"]),
    ],
)
def test_a_tensor_that_is_not_described_is_refused(single: Path, field: str, value: object) -> None:
    rewrite_header(single / SINGLE, lambda header: header[UP].update({field: value}))
    refusal(single, f"{SINGLE} has a header without the dtype, the shape or the place of the tensor {UP}")


def test_a_tensor_that_ends_in_front_of_its_beginning_is_refused(single: Path) -> None:
    rewrite_header(single / SINGLE, lambda header: header[UP].update(data_offsets=[9, 5]))
    refusal(single, f"{SINGLE} has the tensor {UP} end at byte 5, in front of its beginning at byte 9")


@pytest.mark.parametrize(("shape", "needed"), [([256, 33], 256 * 33 * 4), ([10**400], 4 * 10**400), ([], 4)])
def test_a_tensor_with_other_bytes_than_its_shape_takes_is_refused(
    single: Path, shape: list[int], needed: int
) -> None:
    rewrite_header(single / SINGLE, lambda header: header[UP].update(shape=shape))
    refusal(single, f"{UP_BYTES} bytes for the tensor {UP}, which in F32 and of shape {shape} takes {needed}")


@pytest.mark.parametrize("shift", [-4, 4])
def test_tensors_that_overlap_or_leave_bytes_between_them_are_refused(single: Path, shift: int) -> None:
    start, end = header_of(single / SINGLE)[UP]["data_offsets"]
    moved = [start + shift, end + shift]
    rewrite_header(single / SINGLE, lambda header: header[UP].update(data_offsets=moved))
    refusal(
        single, SINGLE, f"has the tensor {UP} begin at byte {start + shift}, and the one before it ends at"
    )


def test_a_dtype_that_there_is_not_is_refused(single: Path) -> None:
    rewrite_header(single / SINGLE, lambda header: header[UP].update(dtype="F33"))
    refusal(single, f"{SINGLE} has the tensor {UP} in F33, which is no dtype of safetensors")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.int8, "I8"), (torch.uint8, "U8"), (torch.float8_e4m3fn, "F8_E4M3"), (torch.float64, "F64")],
)
def test_weights_of_a_quantised_checkpoint_are_refused_by_their_dtype(
    single: Path, dtype: torch.dtype, name: str
) -> None:
    weights = weights_of(single)
    weights[UP] = weights[UP].to(dtype)
    save_file(weights, single / SINGLE)
    refusal(single, f"{SINGLE} has the tensor {UP} ({weights[UP].nbytes} bytes) in {name}, and only float32")


def test_a_mask_that_no_model_reads_does_not_keep_the_weights_from_being_read(single: Path) -> None:
    """As the checkpoints of GPT-NeoX have one in every layer."""
    mask = "model.layers.0.attention.bias"
    save_file(weights_of(single) | {mask: torch.ones(1, 1, 8, 8, dtype=torch.uint8)}, single / SINGLE)
    files = WeightFiles.of(single, "the-model")
    assert files.read(UP).dtype == torch.float32
    assert (files.shape(mask), files.bytes(mask)) == ((1, 1, 8, 8), 64)
    with pytest.raises(UnreadableModelError, match=rf"{mask} \(64 bytes\) in U8"):
        files.read(mask)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool,
        torch.uint8,
        torch.int16,
        torch.int64,
        torch.float8_e5m2,
        torch.float8_e8m0fnu,
        torch.complex64,
    ],
)
def test_what_nobody_prunes_is_described_all_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.zeros(5, 3).to(dtype)
    save_file({"positions": tensor}, tmp_path / SINGLE)
    files = WeightFiles.of(tmp_path, "the-model")
    assert (files.shape("positions"), files.bytes("positions")) == ((5, 3), tensor.nbytes)


def test_an_index_that_names_a_file_that_is_not_there_is_refused(sharded: Path) -> None:
    shard = shard_of(sharded, UP)
    shard.unlink()
    names = [
        name
        for name, place in json.loads((sharded / INDEX).read_text())["weight_map"].items()
        if place == shard.name
    ]
    refusal(
        sharded,
        f"{shard.name} is not there; {INDEX} names it for {len(names)} tensors, the first is {names[0]}",
    )


def test_an_index_that_names_a_tensor_that_is_not_in_that_file_is_refused(sharded: Path) -> None:
    rewrite_index(sharded, lambda places: places.update({"model.extra.weight": shard_of(sharded, UP).name}))
    refusal(
        sharded, f"{INDEX} has the tensor model.extra.weight in {shard_of(sharded, UP).name}, where it is not"
    )


def test_an_index_that_names_the_wrong_file_for_a_tensor_is_refused(sharded: Path) -> None:
    other = next(file for file in sorted(sharded.glob("*.safetensors")) if file != shard_of(sharded, UP))
    rewrite_index(sharded, lambda places: places.update({UP: other.name}))
    refusal(sharded, f"{INDEX} has the tensor {UP} in {other.name}, where it is not")


def test_a_file_with_a_tensor_that_the_index_does_not_name_is_refused(sharded: Path) -> None:
    shard = shard_of(sharded, UP)
    rewrite_index(sharded, lambda places: places.__delitem__(UP))
    refusal(sharded, f"{shard.name} has the tensor {UP}, which {INDEX} does not name")


@pytest.mark.parametrize("indexed", [True, False])
def test_a_tensor_in_two_files_is_refused(sharded: Path, indexed: bool) -> None:
    first, second = sorted(
        [
            shard_of(sharded, UP),
            next(file for file in sorted(sharded.glob("*.safetensors")) if file != shard_of(sharded, UP)),
        ]
    )
    for file in (first, second):
        save_file(load_file(file) | {UP: torch.zeros(256, 32)}, file)
    folder = sharded if indexed else without_index(sharded)
    refusal(folder, f"the tensor {UP} ({UP_BYTES} bytes) is both in {first.name} and in {second.name}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", f"{INDEX} cannot be read (Expecting property name"),
        ("[" * 100_000, f"{INDEX} cannot be read (maximum recursion depth"),
        ("[1]", f"{INDEX} is not an object with metadata and a weight_map"),
        ("{}", f"{INDEX} is not an object with metadata and a weight_map"),
        (
            '{"weight_map": {"a": "a.safetensors"}}',
            f"{INDEX} is not an object with metadata and a weight_map",
        ),
        ('{"metadata": {}, "weight_map": []}', f"{INDEX} is not an object with metadata and a weight_map"),
        ('{"metadata": {}, "weight_map": {}}', f"{INDEX} is not an object with metadata and a weight_map"),
        (
            '{"metadata": {}, "weight_map": {"a": 1}}',
            f"{INDEX} has a in 1, which is no .safetensors file of its folder",
        ),
        (
            '{"metadata": {}, "weight_map": {"a": "a.bin"}}',
            f"{INDEX} has a in 'a.bin', which is no .safetensors file",
        ),
        (
            '{"metadata": {}, "weight_map": {"a": "b.safetensors", "a": "c.safetensors"}}',
            "cannot be read (it has a twice)",
        ),
    ],
)
def test_an_index_that_is_none_is_refused(sharded: Path, content: str, reason: str) -> None:
    (sharded / INDEX).write_text(content)
    refusal(sharded, reason)


@pytest.mark.parametrize(
    "way", ["/etc/a.safetensors", "../single/model.safetensors", "in/a.safetensors", ".."]
)
def test_an_index_cannot_lead_out_of_its_folder(sharded: Path, single: Path, way: str) -> None:
    rewrite_index(sharded, lambda places: places.update({UP: way}))
    refusal(sharded, f"{INDEX} has {UP} in {way!r}, which is no .safetensors file of its folder")


def test_a_link_to_a_file_that_is_gone_is_refused(single: Path) -> None:
    """As the cache of the Hub client has them, when its blobs were removed."""
    (single / SINGLE).unlink()
    (single / SINGLE).symlink_to(single / "blob")
    refusal(single, f"{SINGLE} is not there")


def test_a_folder_without_weights_is_refused(single: Path) -> None:
    (single / SINGLE).unlink()
    refusal(single, "no .safetensors files")


def test_a_file_without_tensors_is_refused(single: Path) -> None:
    save_file({}, single / SINGLE)
    refusal(single, f"{SINGLE} has no tensors")


def test_tensors_that_a_model_expects_and_are_missing_are_said(single: Path, sharded: Path) -> None:
    files = WeightFiles.of(sharded, "the-model")
    files.require(files.names)
    rewrite_index(sharded, lambda places: places.__delitem__(UP))
    shard = next(file for file in sharded.glob("*.safetensors") if UP in load_file(file))
    save_file({name: weight for name, weight in load_file(shard).items() if name != UP}, shard)
    expected = [*files.names, "model.layers.9.mlp.up_proj.weight"]
    files = WeightFiles.of(sharded, "the-model")
    with pytest.raises(UnreadableModelError) as refused:
        files.require(expected)
    assert refused.value.reason == (
        f"2 of its tensors are in none of its files, the first is {UP}; {INDEX} lists {len(files.names)} tensors."
    )


@pytest.mark.parametrize("how", ["removed", "shrunk", "rewritten"])
def test_a_file_that_changes_while_it_is_in_use_is_an_error_and_no_signal(single: Path, how: str) -> None:
    file = single / SINGLE
    files, size = WeightFiles.of(single, "the-model"), file.stat().st_size
    if how == "removed":
        file.unlink()
    elif how == "shrunk":
        os.truncate(file, size - 1)
    else:
        file.write_bytes(bytes(size))
    with pytest.raises(UnreadableModelError) as refused:
        files.read(UP)
    assert re.match(
        rf"{SINGLE} changed since it was opened \(.+\), before {UP} \({UP_BYTES} bytes\)",
        refused.value.reason,
    )
    assert files.bytes_read == 0
