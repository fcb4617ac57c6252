"""Which families are described, and how a checkpoint's config finds its own."""

from collections.abc import Iterable, Mapping
from typing import Any

from pruning_core.errors import NotCausalLanguageModelError, UnsupportedFamilyError
from pruning_core.models.cohere import COHERE
from pruning_core.models.description import Config, Family
from pruning_core.models.falcon import FALCON
from pruning_core.models.gemma import GEMMA, GEMMA2, GEMMA3
from pruning_core.models.glm import GLM, GLM4
from pruning_core.models.gpt2 import GPT2
from pruning_core.models.gpt_neox import GPT_NEOX
from pruning_core.models.granite import GRANITE
from pruning_core.models.llama import LLAMA
from pruning_core.models.mistral import MISTRAL
from pruning_core.models.mixtral import MIXTRAL
from pruning_core.models.olmo import OLMO2, OLMOE
from pruning_core.models.opt import OPT
from pruning_core.models.phi3 import PHI3
from pruning_core.models.qwen2 import QWEN2
from pruning_core.models.qwen3 import QWEN3
from pruning_core.models.qwen_moe import QWEN2_MOE, QWEN3_MOE
from pruning_core.models.smollm3 import SMOLLM3
from pruning_core.models.starcoder2 import STARCODER2
from pruning_core.models.tensor_parallel import PLANNED, REFUSED
from pruning_core.twins.registry import PUBLISHED

FAMILIES: tuple[Family, ...] = (
    LLAMA,
    MISTRAL,
    MIXTRAL,
    QWEN2,
    QWEN3,
    QWEN2_MOE,
    QWEN3_MOE,
    SMOLLM3,
    GEMMA,
    GEMMA2,
    GEMMA3,
    PHI3,
    GLM,
    GLM4,
    GRANITE,
    OLMO2,
    OLMOE,
    COHERE,
    OPT,
    GPT2,
    GPT_NEOX,
    FALCON,
    STARCODER2,
)

_described = {model_type: family for family in FAMILIES for model_type in family.model_types}
# A description always wins over what a plan says.
_by_model_type = {**PLANNED, **_described}


def described_model_types() -> list[str]:
    """What somebody described."""
    return sorted(_described)


def planned_model_types() -> list[str]:
    """What is known from its tensor-parallel plan alone."""
    return sorted(PLANNED.keys() - _described.keys())


def table() -> str:
    """The described families, in Markdown."""
    return _table(FAMILIES)


def planned_table() -> str:
    """The families known from their plans, in Markdown."""
    return _table([PLANNED[model_type] for model_type in planned_model_types()])


def _table(families: Iterable[Family]) -> str:
    rows = [
        "| models | `model_type` | decoder layers | what is narrowed | width | left beside it |",
        "|---|---|---|---|---|---|",
    ]
    for family in families:
        types = ", ".join(f"`{name}`" for name in family.model_types)
        paths = [family.experts.module] if family.experts else [*family.mlp.producers, family.mlp.consumer]
        narrowed = " · ".join(f"`{path}`" for path in paths)
        row = (family.name, types, f"`{family.layers}`", narrowed, f"`{family.width_field}`", family.beside)
        rows.append(f"| {' | '.join(row)} |")
    return "\n".join(rows)


def describe(config: Mapping[str, Any], model: str) -> tuple[Family, Config]:
    """Find the family of a checkpoint.

    Args:
        config: the checkpoint's `config.json`.
        model: the model as the user named it, for the error.

    Returns:
        The family, and the config with the family's defaults filled in.

    Raises:
        NotCausalLanguageModelError: the checkpoint's architecture does not predict the next token.
        UnsupportedFamilyError: nobody described this `model_type`, or not this variant of it.
    """
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list):
        architectures = [architectures]
    architectures = [str(name) for name in architectures]
    if architectures and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise NotCausalLanguageModelError(
            "model",
            model,
            f"its architecture is {', '.join(architectures)}, which does not predict the next token.",
            "Name a causal language model (…ForCausalLM).",
        )
    model_type = config.get("model_type")
    family = _by_model_type.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise _unknown_family(model_type, model)
    filled = {**family.defaults, **config}
    filled |= family.derived(filled)
    refusal = family.refusal(filled)
    if refusal is not None:
        raise UnsupportedFamilyError("model", model, f"{refusal}.", "Name another model of this family.")
    return family, filled


def _unknown_family(model_type: object, model: str) -> UnsupportedFamilyError:
    why = REFUSED.get(model_type) if isinstance(model_type, str) else None
    plan = f", and its tensor-parallel plan is not enough to go by: {why}" if why else ""
    return UnsupportedFamilyError(
        "model",
        model,
        f"its model_type is {model_type!r}, a family that is not described{plan}.",
        f"Name a model of one that is: {', '.join(described_model_types())}; "
        f"with code of its own: {', '.join(sorted(PUBLISHED))}; "
        f"or of one known by its tensor-parallel plan: {', '.join(planned_model_types())}. "
        "docs/families.md says what is cut in each, and how one is added.",
    )
