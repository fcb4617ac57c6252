"""The README.md that goes with every checkpoint: what was done, to what, with what."""

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pruning_core.result import PruneResult

CARD_NAME = "README.md"
RESULT_NAME = "secateur.json"

_templates = Environment(
    loader=PackageLoader("registry"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  Markdown, not HTML
)


def write_card(folder: Path, result: PruneResult) -> None:
    """Write the model card and, for programs, the whole result beside the weights."""
    card = _templates.get_template("card.md").render(result=result, title=_title(result))
    (folder / CARD_NAME).write_text(card, encoding="utf-8")
    (folder / RESULT_NAME).write_text(result.model_dump_json(indent=2), encoding="utf-8")


def checkpoint_name(model: str, method: str, ratio: float, job_id: str) -> str:
    """A name that says what it is and that no other job has: `pruned/smollm2-135m-osscar-25-1a2b3c4d`."""
    return f"pruned/{_short_name(model)}-{method}-{ratio * 100:g}-{job_id[:8]}"


def _title(result: PruneResult) -> str:
    name = result.recipe.model.id.rstrip("/").rsplit("/", 1)[-1]
    return f"{name}, pruned by {result.recipe.method}"


def _short_name(model: str) -> str:
    stem = model.rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem)
    # Clients of the Hub refuse both of these in a name.
    plain = re.sub(r"\.{2,}", ".", re.sub("-{2,}", "-", plain))
    # A folder's name has at most 255 bytes, and the Hub's have 96.
    return plain[:48].strip("._-") or "model"
