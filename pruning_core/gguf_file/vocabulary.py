"""The vocabulary of a GGUF file: of the base model's `tokenizer.json`, or as the base model's own GGUF file has it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType, GGUFWriter, SpecialVocab, TokenType

from pruning_core.errors import UnreadableModelError, UnsupportedFormatError
from pruning_core.gguf_file.pre_tokenizers import name_of
from pruning_core.model_source import ModelSource

PREFIX = "tokenizer."
"""Of every field of a GGUF file that is about the vocabulary."""

_NORMALIZERS = (None, "NFC")
"""llama.cpp has none, and takes it that a text is composed (NFC) already, as nearly all are."""

_REMEDY = (
    'Leave "gguf" out of formats, or name a GGUF file of this model, whose vocabulary is taken over as it is.'
)


@dataclass(frozen=True)
class PublishedVocabulary:
    """A byte-level BPE vocabulary.

    Attributes:
        pre_tokenizer: llama.cpp's name of how it cuts a text into words.
        known: tokens and their types, by their ids.
        size: how many embeddings the model has, which may be more.
    """

    pre_tokenizer: str
    known: Mapping[int, tuple[str, TokenType]]
    size: int

    def add_to(self, writer: GGUFWriter, folder: Path) -> None:
        """Describe it in a file's header, with merges, special tokens and chat template of a finished checkpoint."""
        # A file has as many tokens as embeddings.
        tokens = [self.known.get(index, (f"[PAD{index}]", TokenType.UNUSED)) for index in range(self.size)]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre_tokenizer)
        writer.add_token_list([text for text, _ in tokens])
        writer.add_token_types([kind for _, kind in tokens])
        special = SpecialVocab(folder, load_merges=True, n_vocab=self.size)
        # Where a tokenizer does not say, transformers adds none, and llama.cpp goes by the pre-tokenizer's name.
        special.add_special_token = {"bos": False, "eos": False} | special.add_special_token
        special.add_to_gguf(writer, quiet=True)


@dataclass(frozen=True)
class CopiedVocabulary:
    """What a GGUF file says of its vocabulary: each field's value and types, by its name."""

    fields: Mapping[str, tuple[Any, list[GGUFValueType]]]

    def add_to(self, writer: GGUFWriter, _folder: Path) -> None:
        """Describe it in another file's header."""
        for name, (value, types) in self.fields.items():
            inner = types[-1] if types[0] is GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, types[0], sub_type=inner)


Vocabulary = PublishedVocabulary | CopiedVocabulary


def read_vocabulary(source: ModelSource, size: int) -> Vocabulary:
    """Read the vocabulary of a model that `support.require_gguf` let pass; `size` is its number of embeddings."""
    if source.gguf_file is None:
        return read_published_vocabulary(source, size)
    fields = GGUFReader(Path(source.location) / source.gguf_file).fields
    return CopiedVocabulary(
        {name: (field.contents(), field.types) for name, field in fields.items() if name.startswith(PREFIX)}
    )


def read_published_vocabulary(source: ModelSource, size: int) -> PublishedVocabulary:
    """Read a vocabulary from a model's `tokenizer.json`, whichever class transformers has for it.

    Raises:
        UnsupportedFormatError: there is none, or llama.cpp would make other tokens with it.
        UnreadableModelError: it cannot be read.
    """
    if source.tokenizer_file is None:
        raise _unsupported("the model has no tokenizer.json")
    try:
        tokenizer = json.loads(source.tokenizer_file.read_text(encoding="utf-8"))
        _require_byte_level(tokenizer)
        pre_tokenizer = name_of(tokenizer)
        if pre_tokenizer is None:
            raise _unsupported("llama.cpp has no name for how the model's tokenizer cuts a text into words")
        return PublishedVocabulary(pre_tokenizer, _tokens(tokenizer, size), size)
    except UnsupportedFormatError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        raise UnreadableModelError(
            "model",
            source.reference.id,
            f"its tokenizer.json cannot be read ({broken!r}).",
            "Repair it, or name another checkpoint.",
        ) from broken


def _require_byte_level(tokenizer: Mapping[str, Any]) -> None:
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise _unsupported(f"the model's tokenizer is {model.get('type')!r}, and only 'BPE' can be written")
    if model.get("byte_fallback"):
        raise _unsupported(
            "the model's tokenizer is one of SentencePiece, and tokenizer.json lacks the scores that llama.cpp goes by"
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _unsupported(
            "the model's tokenizer marks the beginnings or ends of words, which llama.cpp does not"
        )
    normalizer = (tokenizer.get("normalizer") or {}).get("type")
    if normalizer not in _NORMALIZERS:
        raise _unsupported(
            f"the model's tokenizer normalises its text ({normalizer}), and llama.cpp does not"
        )


def _tokens(tokenizer: Mapping[str, Any], size: int) -> dict[int, tuple[str, TokenType]]:
    known = {index: (text, TokenType.NORMAL) for text, index in tokenizer["model"]["vocab"].items()}
    for token in tokenizer.get("added_tokens", []):
        kind = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        known[token["id"]] = token["content"], kind
    if max(known) >= size:
        raise _unsupported(f"the model's tokenizer has a token {max(known)}, and the model {size} embeddings")
    return known


def _unsupported(reason: str) -> UnsupportedFormatError:
    return UnsupportedFormatError("formats", "gguf", f"{reason}.", _REMEDY)
