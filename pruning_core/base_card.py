"""What the publisher of a base model says of it, as far as that holds for the pruned model too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from huggingface_hub import ModelCard
from pydantic import BaseModel

from pruning_core.gguf_header import read_gguf_terms
from pruning_core.model_source import ModelSource

CARD = "README.md"


class BaseCard(BaseModel):
    """The license, by the Hub's names for licenses, and the languages, by their ISO codes; None where it is not said.

    `license_name` and `license_link` go with the license `other`.
    """

    license: str | list[str] | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: str | list[str] | None = None


def read_base_card(source: ModelSource) -> BaseCard:
    """Read the front matter of a model's README.md, or the header of a GGUF file.

    Raises:
        UnreachableHubError: the Hub does not answer, and the card is not in the local cache.
    """
    if source.gguf_file is not None:
        return _pick(read_gguf_terms(Path(source.location) / source.gguf_file).get, ())
    card = source.small_file(CARD) if CARD in source.files else None
    try:
        said = None if card is None else ModelCard.load(card, ignore_metadata_errors=True).data.get
    except (ValueError, yaml.YAMLError):
        # What is not YAML says nothing; transformers reads no card, so it is no reason not to prune.
        said = None
    return BaseCard() if said is None else _pick(said, source.files)


def _pick(said: Callable[[str], Any], files: tuple[str, ...]) -> BaseCard:
    link = _text(said("license_link"))
    if link is not None and not urlsplit(link).scheme and link not in files:
        link = None
    return BaseCard(
        license=_texts(said("license")),
        license_name=_text(said("license_name")),
        license_link=link,
        language=_texts(said("language")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> str | list[str] | None:
    if isinstance(value, list):
        return [text for text in value if _text(text)] or None
    return _text(value)
