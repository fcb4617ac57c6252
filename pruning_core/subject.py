"""The model of a recipe: found, and described by its family, or by the twin of a model with code of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pruning_core.config_sizes import require_sizes
from pruning_core.errors import (
    NoRemoteCodeError,
    NotCausalLanguageModelError,
    UnreadableModelError,
    UnsupportedFamilyError,
    UntrustedCodeError,
)
from pruning_core.model_code import TRUST_SETTING, ModelCode, Trusted, code_of_others
from pruning_core.model_source import ModelSource, OwnCode, find_model
from pruning_core.models.description import Config, Family
from pruning_core.models.registry import describe
from pruning_core.paths import Roots
from pruning_core.recipe import ModelReference, RemoteCode
from pruning_core.twins.description import PublishedModel
from pruning_core.twins.registry import PUBLISHED
from pruning_core.weight_formats import are_pickled

SIZES = ("hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings")
"""Config fields that every family has beside its depth and its width."""


@dataclass(frozen=True)
class Subject:
    """A model that can be pruned.

    Attributes:
        source: where it is, and what is done with code of its own.
        family: how it is described once it is loaded.
        config: what its config says once it is loaded, with the family's defaults filled in.
    """

    source: ModelSource
    family: Family
    config: Config


def find_subject(
    reference: ModelReference,
    remote_code: RemoteCode,
    *,
    roots: Roots,
    trusted: Trusted = (),
    allow_pickle: bool = False,
) -> Subject:
    """Find a model and its description.

    Args:
        reference: the model as the user named it.
        remote_code: what to do with code of its own.
        roots: the folders that may be read; None for all.
        trusted: whose code may run.
        allow_pickle: whether pickled weights may be read.

    Raises:
        RecipeError: there is no such model, it is not described, its code would have to run and may not, or its
            weights are pickled and may not be read.
    """
    source = find_model(reference, roots)
    source = replace(source, pickled=are_pickled(reference.id, source.files, allowed=allow_pickle))
    published = _published(source)
    if published is None:
        if remote_code == "in_place":
            raise NoRemoteCodeError(
                "remote_code",
                remote_code,
                f"no code of {reference.id} is run: transformers has that of its family, or it is not described.",
                "Leave remote_code out.",
            )
        family, config = describe(source.config, reference.id)
    else:
        source = _with_own_code(source, published, remote_code, trusted)
        family, config = _describe_published(source)
    require_sizes((family.depth_field, family.width_field, *SIZES), config, reference.id)
    return Subject(source, family, config)


def _published(source: ModelSource) -> PublishedModel | None:
    model_type = source.config.get("model_type")
    # The header of a GGUF file calls the fields by other names.
    return PUBLISHED.get(model_type) if isinstance(model_type, str) and source.gguf_file is None else None


def _with_own_code(
    source: ModelSource, published: PublishedModel, remote_code: RemoteCode, trusted: Trusted
) -> ModelSource:
    model, family = source.reference.id, published.family
    architectures = source.config.get("architectures") or list(published.architectures)
    if not isinstance(architectures, list) or not set(map(str, architectures)) & set(published.architectures):
        raise NotCausalLanguageModelError(
            "model",
            model,
            f"its architecture is {architectures}, which does not predict the next token.",
            f"Name a model with one of these: {', '.join(published.architectures)}.",
        )
    config = {**family.defaults, **source.config}
    require_sizes(published.sizes, config, model)
    refusal = family.refusal(config)
    if refusal is not None:
        raise UnsupportedFamilyError("model", model, f"{refusal}.", "Name another model of this family.")
    files = _read_code(source)
    entry = trust_entry(source, files)
    own_code = OwnCode(published, config, remote_code == "in_place", entry in trusted, files)
    if own_code.in_place:
        _require_code(source)
        if not own_code.trusted:
            raise UntrustedCodeError(
                "remote_code",
                remote_code,
                f"{model} would run its own code, which the operator of this service has not allowed.",
                f"Leave remote_code out, and it is converted to {published.twin.model_type} without running any; "
                f"or let the operator read that code and add {entry} to {TRUST_SETTING}.",
            )
    return replace(source, own_code=own_code)


def _read_code(source: ModelSource) -> ModelCode | None:
    if source.folder is None:
        return None
    try:
        return ModelCode.read(source.folder)
    except OSError as broken:
        raise UnreadableModelError(
            "model",
            source.reference.id,
            f"its code cannot be read ({broken}).",
            "Repair it, or name another checkpoint.",
        ) from broken


def trust_entry(source: ModelSource, files: ModelCode | None) -> str:
    """What the allow-list must hold for the code of a model to run, given that of a local folder."""
    revision = source.reference.revision if files is None else files.digest
    return f"{source.location}@{revision}"


def _require_code(source: ModelSource) -> None:
    """Refuse a checkpoint whose classes are not in its own files.

    Raises:
        NoRemoteCodeError: its config names no classes, or those of another repository, which no revision here pins.
    """
    names = source.config.get("auto_map")
    classes: Mapping[str, Any] = names if isinstance(names, Mapping) else {}
    if not isinstance(classes.get("AutoModelForCausalLM"), str):
        raise NoRemoteCodeError(
            "remote_code",
            "in_place",
            f"the config of {source.reference.id} names no AutoModelForCausalLM in its auto_map.",
            "Leave remote_code out.",
        )
    elsewhere = code_of_others(names)
    if elsewhere:
        raise NoRemoteCodeError(
            "remote_code",
            "in_place",
            f"the auto_map of {source.reference.id} names code of another repository, {elsewhere[0]}, which its own "
            "revision does not pin.",
            "Leave remote_code out, or copy the code into the checkpoint.",
        )


def _describe_published(source: ModelSource) -> tuple[Family, Config]:
    own_code = source.own_code
    assert own_code is not None  # noqa: S101  it was just found
    published, config = own_code.model, own_code.config
    if own_code.in_place:
        return published.family, {**config, **{new: config[old] for new, old in published.renamed.items()}}
    family = published.twin.family
    return family, {**family.defaults, **published.twin.config(config)}
