"""The README.md that goes with every checkpoint: what was done, to what, with what."""

import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from jinja2 import Environment, PackageLoader, StrictUndefined

from pruning_core import wikitext2
from pruning_core.paths import looks_local
from pruning_core.recipe import title_of
from pruning_core.result import PruneResult
from registry.record import Record

CARD_NAME = "README.md"

DERIVED = "finetune"
"""Of the relations that the Hub knows (adapter, merge, quantized, finetune): all weights there, and changed."""

_templates = Environment(
    loader=PackageLoader("registry"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  Markdown, not HTML
)


def write_card(folder: Path, result: PruneResult) -> None:
    """Write the record, for programs, and the model card beside the weights, which must be there."""
    Record.write(folder, result)
    text = _templates.get_template("card.md").render(result=result, title=title_of(result.recipe))
    ModelCard(f"---\n{_metadata(result).to_yaml()}\n---\n{text}").save(folder / CARD_NAME)


def checkpoint_name(model: str, method: str, ratio: float, job_id: str) -> str:
    """A name that says what it is and that no other job has: `pruned/smollm2-135m-osscar-25-1a2b3c4d`."""
    return f"pruned/{_short_name(model)}-{method}-{ratio * 100:g}-{job_id[:8]}"


def _metadata(result: PruneResult) -> ModelCardData:
    recipe, base = result.recipe, result.base_card
    base_model = recipe.model.id if _is_on_hub(recipe.model.id) else None
    return ModelCardData(
        **base.model_dump(),
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=base_model,
        base_model_relation=DERIVED if base_model else None,
        tags=["pruned", "secateur", recipe.method],
        model_name=title_of(result.recipe),
        eval_results=[
            _perplexity(result, "Perplexity", result.perplexity_after),
            _perplexity(result, "Perplexity of the base model", result.perplexity_before),
        ],
    )


def _is_on_hub(model: str) -> bool:
    """Tell whether the Hub would take this for a base model; it refuses a card that names a path."""
    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    return not looks_local(model)


def _perplexity(result: PruneResult, name: str, value: float) -> EvalResult:
    text = result.evaluation
    published = text.dataset == "wikitext2"
    return EvalResult(
        task_type="text-generation",
        task_name="Text generation",
        # What `datasets` calls a plain text that is no dataset of the Hub.
        dataset_type=wikitext2.REPOSITORY if published else "text",
        dataset_name="WikiText-2" if published else Path(text.dataset).name,
        dataset_config=wikitext2.CONFIG if published else None,
        dataset_split=wikitext2.SPLITS["evaluation"] if published else None,
        dataset_args={
            "windows": text.windows,
            "sequence_length": text.sequence_length,
            "sha256": text.sha256,
        },
        metric_type="perplexity",
        metric_name=name,
        metric_value=value,
        metric_args={"dtype": result.dtype},
    )


def _short_name(model: str) -> str:
    stem = model.rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem)
    # Clients of the Hub refuse both of these in a name.
    plain = re.sub(r"\.{2,}", ".", re.sub("-{2,}", "-", plain))
    # A folder's name has at most 255 bytes, and the Hub's have 96.
    return plain[:48].strip("._-") or "model"
