"""GGUF files beside the safetensors: transformers reads the same model of them; what they cannot hold is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, TokenType
from tokenizers import Regex, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from pruning_core import parse_recipe, prune
from pruning_core.errors import DiskFullError, UnreadableModelError, UnsupportedFormatError
from pruning_core.estimate import estimate
from pruning_core.gguf_file.pre_tokenizers import name_of
from pruning_core.preflight import Preflight
from tests.small_disk import small_disk
from tests.tiny_models import SIZES, VOCABULARY, make_tiny, make_tiny_llama, make_tiny_qwen2

Json = dict[str, Any]

CHANGES: dict[str, Json] = {
    "float32": {},
    "bfloat16": {"method": "depth", "ratio": 0.25},
    "float16": {"shard_size": "100KB", "weights": "streamed"},
}
"""What else is asked for with each dtype."""

CONTRACTION, WORD, SYMBOLS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
)
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTION}|{WORD}|\p{{N}}{{1,3}}|{SYMBOLS}|{SPACES}"
QWEN2 = rf"{CONTRACTION}|{WORD}|\p{{N}}|{SYMBOLS}|{SPACES}"
TEXT = "We'll see: 1234 tests, naïve ones\n\n \tand some\u00a0more ... <|im_end|>\u2713"
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), bytes_])


def definition(pre_tokenizer: pre_tokenizers.PreTokenizer) -> Json:
    """How a `tokenizer.json` has it."""
    stated: Json = json.loads(pre_tokenizer.__getstate__())
    return stated


def change_json(file: Path, change: Callable[[Json], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def as_qwen2s(folder: Path) -> None:
    """Make of the tiny models' tokenizer one that transformers loads as it is for Qwen2."""

    def change(tokenizer: Json) -> None:
        tokenizer["pre_tokenizer"] = definition(split(QWEN2))
        tokenizer["normalizer"] = {"type": "NFC"}
        last = max(tokenizer["model"]["vocab"].values())
        names = {"<|endoftext|>": True, "<|im_end|>": True, "<tool>": False}
        for place, (name, special) in enumerate(names.items(), last + 1):
            plain = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
            tokenizer["added_tokens"].append({"id": place, "content": name, "special": special, **plain})

    change_json(folder / "tokenizer.json", change)


@pytest.fixture(scope="module")
def llama(tiny_llama: Path) -> Path:
    return tiny_llama


@pytest.fixture(scope="module")
def qwen2(models: Path) -> Path:
    # As many Qwen2 models it has embeddings that no token has.
    folder = make_tiny_qwen2(models / "qwen2-of-its-own", vocab_size=VOCABULARY + 8, tie_word_embeddings=True)
    as_qwen2s(folder)
    return folder


def recipe(model: Path, **changes: Any) -> Json:
    return {
        "model": str(model),
        "method": "osscar",
        "ratio": 0.5,
        "calibration": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        "formats": ["safetensors", "gguf"],
        **changes,
    }


def pruned(model: Path, output: Path, **changes: Any) -> Path:
    """Prune, and give the GGUF file."""
    prune(parse_recipe(recipe(model, **changes)), output)
    (file,) = output.glob("*.gguf*")
    return file


def refusal(model: Path, **changes: Any) -> str:
    with pytest.raises(UnsupportedFormatError) as refused:
        Preflight(parse_recipe(recipe(model, **changes)), roots=None)
    assert (refused.value.field, refused.value.value) == ("formats", "gguf")
    assert 'Leave "gguf" out of formats' in refused.value.remedy
    return refused.value.reason


def logits(folder: Path, **options: Any) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", **options)
    tokens = torch.arange(1, 121).view(2, 60)
    with torch.no_grad():
        given: Tensor = model(tokens).logits
    return given


def tensors(file: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(file).tensors}


def fields(file: Path) -> Json:
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=CHANGES)
def dtype(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def file(
    family: str, dtype: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A GGUF file, beside the checkpoint that it was made of."""
    model = request.getfixturevalue(family)
    return pruned(model, tmp_path_factory.mktemp("checkpoint"), dtype=dtype, **CHANGES[dtype])


def test_transformers_reads_the_model_that_is_beside_it(file: Path) -> None:
    assert torch.equal(logits(file.parent, gguf_file=file.name), logits(file.parent))
    tokens = [
        AutoTokenizer.from_pretrained(file.parent, **options)(TEXT).input_ids
        for options in ({"gguf_file": file.name}, {})
    ]
    assert tokens[0] == tokens[1]


def test_matrices_keep_the_checkpoints_dtype_and_vectors_are_float32(file: Path, dtype: str) -> None:
    short = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[dtype]
    assert file.name == f"model-{short}.gguf"
    types = {(len(tensor.shape), tensor.tensor_type) for tensor in tensors(file).values()}
    assert types == {(1, GGMLQuantizationType.F32), (2, GGMLQuantizationType[short])}


def test_tied_embeddings_are_written_once(file: Path, family: str) -> None:
    assert ("output.weight" in tensors(file)) == (family == "llama")


def test_a_head_may_have_dimensions_that_the_hidden_size_does_not_tell(tmp_path: Path) -> None:
    # One head for keys and values, too.
    model = make_tiny_llama(tmp_path / "model", head_dim=16, num_key_value_heads=1, rms_norm_eps=1e-5)
    file = pruned(model, tmp_path / "out")
    assert torch.equal(logits(tmp_path / "out", gguf_file=file.name), logits(tmp_path / "out"))


def test_the_header_says_what_the_model_is_and_what_it_was_made_of(qwen2: Path, tmp_path: Path) -> None:
    model = shutil.copytree(qwen2, tmp_path / "model")
    (model / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\n")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    change_json(model / "tokenizer_config.json", lambda config: config.update(eos_token="<|im_end|>"))
    said = fields(pruned(model, tmp_path / "out"))
    assert said["general.name"] == "model, pruned by osscar"
    assert (said["general.license"], said["general.languages"]) == ("apache-2.0", ["en"])
    assert said["qwen2.feed_forward_length"] == SIZES["intermediate_size"] // 2
    assert said["qwen2.vocab_size"] == len(said["tokenizer.ggml.tokens"]) == VOCABULARY + 8
    assert said["tokenizer.chat_template"] == "{{ messages }}"
    assert said["tokenizer.ggml.pre"] == "qwen2"
    assert (said["tokenizer.ggml.add_bos_token"], said["tokenizer.ggml.add_eos_token"]) == (False, False)
    kinds = dict(zip(said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"], strict=True))
    assert said["tokenizer.ggml.tokens"][said["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert kinds["<|im_end|>"] == TokenType.CONTROL
    assert kinds["<tool>"] == TokenType.USER_DEFINED
    assert kinds["the"] == TokenType.NORMAL
    assert kinds[f"[PAD{VOCABULARY + 7}]"] == TokenType.UNUSED


def test_llama_3s_slower_rotations_are_written_as_factors(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model", head_dim=32, rope_parameters=ROPE)
    file = pruned(model, tmp_path / "out")
    scaled = AutoModelForCausalLM.from_pretrained(model).model.rotary_emb.inv_freq
    factors = torch.tensor(tensors(file)["rope_freqs.weight"].data)
    unscaled = ROPE["rope_theta"] ** (-torch.arange(0, 32, 2) / 32)  # type: ignore[operator]  # of floats and strings
    torch.testing.assert_close(scaled * factors, unscaled)
    assert (factors[0], factors[-1]) == (1, 8)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_the_vocabulary_of_a_gguf_file_is_taken_over(file: Path, tmp_path: Path) -> None:
    # Nothing but the file itself is there to go by.
    alone = shutil.copy(file, tmp_path / "base.gguf")
    again = pruned(alone, tmp_path / "again", method="depth", ratio=0.25)
    before, after = (
        {name: value for name, value in fields(each).items() if name.startswith("tokenizer.")}
        for each in (alone, again)
    )
    assert after == before
    assert len(after) > 5
    assert torch.equal(logits(again.parent, gguf_file=again.name), logits(again.parent))


@pytest.mark.parametrize(
    ("pre_tokenizer", "ignores_merges", "name"),
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=False), False, "gpt-2"),
        (split(QWEN2), False, "qwen2"),
        (split(LLAMA3), True, "llama-bpe"),
        (
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False),
                ]
            ),
            False,
            "smollm",
        ),
        # llama.cpp would not, and would, take a word for the token that it is.
        (split(LLAMA3), False, None),
        (split(QWEN2), True, None),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), False, None),
        (split(r"\p{N}+|\P{N}+"), False, None),
        (pre_tokenizers.Metaspace(), False, None),
    ],
)
def test_a_tokenizer_is_known_by_its_definition(
    pre_tokenizer: pre_tokenizers.PreTokenizer, ignores_merges: bool, name: str | None
) -> None:
    model = {"type": "BPE", "ignore_merges": ignores_merges}
    assert name_of({"pre_tokenizer": definition(pre_tokenizer), "model": model}) == name


def test_a_tokenizer_of_an_older_file_is_known_too() -> None:
    assert (
        name_of({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "model": {}}) == "gpt-2"
    )


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("mistral", {}, "'mistral'"),
        ("llama", {"hidden_act": "gelu"}, "'gelu'"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "'linear'"),
        ("qwen2", {"rope_parameters": ROPE}, "'llama3'"),
    ],
)
def test_a_model_that_a_gguf_file_cannot_hold_is_refused(
    model_type: str, changes: Json, reason: str, tmp_path: Path
) -> None:
    make_tiny(model_type, tmp_path, **changes)
    assert reason in refusal(tmp_path)
    # It can be pruned all the same.
    Preflight(parse_recipe(recipe(tmp_path, formats=["safetensors"])), roots=None)


def test_the_scaling_of_an_older_config_is_refused_by_its_name(llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(llama, tmp_path / "model")
    scaling = {"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    change_json(model / "config.json", lambda config: config.update(scaling))
    assert "'dynamic'" in refusal(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tokenizer: tokenizer["model"].update(byte_fallback=True), "SentencePiece"),
        (lambda tokenizer: tokenizer["model"].update(type="Unigram"), "'Unigram'"),
        (lambda tokenizer: tokenizer["model"].update(end_of_word_suffix="</w>"), "ends of words"),
        (lambda tokenizer: tokenizer.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda tokenizer: tokenizer.update(pre_tokenizer=None), "no name"),
        (lambda tokenizer: tokenizer["model"]["vocab"].update(more=VOCABULARY), f"a token {VOCABULARY}"),
    ],
)
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(
    change: Callable[[Json], None], reason: str, llama: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(llama, tmp_path / "model")
    change_json(model / "tokenizer.json", change)
    assert reason in refusal(model)


def test_a_model_without_a_tokenizer_json_is_refused(llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(llama, tmp_path / "model")
    (model / "tokenizer.json").unlink()
    assert "no tokenizer.json" in refusal(model)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {"type": "BPE"}, "pre_tokenizer": 3}'])
def test_a_broken_tokenizer_is_refused(content: str, llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(llama, tmp_path / "model")
    (model / "tokenizer.json").write_text(content)
    with pytest.raises(UnreadableModelError, match=r"tokenizer\.json cannot be read"):
        Preflight(parse_recipe(recipe(model)), roots=None)


def test_formats_are_in_one_order_and_safetensors_is_one_of_them(llama: Path) -> None:
    asked = parse_recipe(recipe(llama, formats=["gguf", "safetensors", "gguf"]))
    assert asked.formats == ("safetensors", "gguf")
    with pytest.raises(ValueError, match="safetensors are always written"):
        parse_recipe(recipe(llama, formats=["gguf"]))


def test_the_second_file_counts_on_disk(llama: Path) -> None:
    with_it, without = (
        estimate(Preflight(parse_recipe(recipe(llama, formats=formats)), roots=None))
        for formats in (["safetensors", "gguf"], ["safetensors"])
    )
    assert with_it.disk_bytes - without.disk_bytes == without.result_bytes == with_it.result_bytes


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_a_disk_with_no_room_for_it_keeps_no_part_of_it(llama: Path, file: Path, tmp_path: Path) -> None:
    beside = sum(each.stat().st_size for each in file.parent.iterdir() if each != file)
    with small_disk(tmp_path / "disk", beside + file.stat().st_size * 3 // 4):
        output = tmp_path / "disk" / "output"
        with pytest.raises(DiskFullError, match=rf"{file.name} \([\d,]+ bytes\)"):
            pruned(llama, output)
        assert sorted(output.iterdir()) == sorted(
            output / each.name for each in file.parent.iterdir() if each != file
        )
