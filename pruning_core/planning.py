"""What a recipe will cut, to the channel and the parameter, from the config alone."""

from collections.abc import Sequence
from math import ceil, floor
from typing import NoReturn

from pydantic import BaseModel

from pruning_core.depth.cuts import consecutive_cuts, name_layers
from pruning_core.errors import CutTooLargeError, CutTooSmallError, UnclearCutError, UnusableLayersError
from pruning_core.models.description import Config, Family, ParameterCount
from pruning_core.recipe import DepthRecipe, OsscarRecipe, Recipe

MINIMUM_WIDTH = 128
"""Channels that must stay: one tile of a GPU's matrix unit, below which a smaller MLP is not a faster one."""


class Plan(BaseModel):
    """Sizes before and after; parameters count tied weights once.

    Where decoder layers differ and a search is to find those that go, they count as what most layers are.
    """

    layers_before: int
    layers_after: int
    intermediate_size_before: int
    intermediate_size_after: int
    parameters_before: int
    parameters_after: int
    removed_share: float


def plan(recipe: Recipe, family: Family, config: Config) -> Plan:
    """Work out the cut that `recipe` asks for.

    Raises:
        CutTooSmallError: nothing would be removed.
        CutTooLargeError: fewer than one layer or `MINIMUM_WIDTH` channels would stay.
        UnclearCutError: neither a ratio nor layers, or a ratio that is not that of the layers.
        UnusableLayersError: layers that are not there, that are named twice, that are all there are, or without which
            no config of the family can say what the model is.
    """
    layers, width = config[family.depth_field], config[family.width_field]
    count = family.count(config)
    if isinstance(recipe, OsscarRecipe):
        kept_layers, kept_width = layers, _kept_width(recipe, width, layers, count)
        count_after = count
    else:
        kept_layers, kept_width = layers - _removed_layers(recipe, layers, width, count), width
        count_after = _count_without(recipe, family, config, layers - kept_layers)
    before, after = count.total(layers, width), count_after.total(kept_layers, kept_width)
    return Plan(
        layers_before=layers,
        layers_after=kept_layers,
        intermediate_size_before=width,
        intermediate_size_after=kept_width,
        parameters_before=before,
        parameters_after=after,
        removed_share=(before - after) / before,
    )


def _kept_width(recipe: OsscarRecipe, width: int, layers: int, count: ParameterCount) -> int:
    multiple = recipe.options.width_multiple
    if recipe.ratio_of == "parameters":
        share_of_channel = (layers - count.apart) * count.channel / count.total(layers, width)
        exact = width - recipe.ratio / share_of_channel
    else:
        share_of_channel = 1 / width
        exact = int(width * (1 - recipe.ratio))
    kept = _nearest_multiple(exact, multiple)
    if kept >= width:
        # The widest MLP that is narrower; what lies above the middle between it and the next is rounded up.
        widest = (width - 1) // multiple * multiple
        least = _above((width - widest - multiple / 2) * share_of_channel)
        raise CutTooSmallError(
            "ratio",
            recipe.ratio,
            f"all {width} channels would stay, since widths are multiples of {multiple} (options.width_multiple).",
            f"Ask for at least {least:.4f} of the {recipe.ratio_of}, or for a smaller options.width_multiple."
            if widest >= MINIMUM_WIDTH
            else _NO_RATIO,
        )
    if kept < MINIMUM_WIDTH:
        narrowest = ceil(MINIMUM_WIDTH / multiple) * multiple
        most = _below((width - ceil(narrowest - multiple / 2)) * share_of_channel)
        raise CutTooLargeError(
            "ratio",
            recipe.ratio,
            f"{max(kept, 0)} of {width} channels would stay, and at least {MINIMUM_WIDTH} must.",
            f"Ask for at most {most:.4f} of the {recipe.ratio_of}." if narrowest < width else _NO_RATIO,
        )
    return kept


_NO_RATIO = "No ratio helps here: ask for a smaller options.width_multiple, or for a model with a wider MLP."


def _nearest_multiple(value: float, multiple: int) -> int:
    return floor(value / multiple + 0.5) * multiple


def _above(bound: float) -> float:
    """The smallest number of four decimals above `bound`."""
    return (floor(bound * 10_000) + 1) / 10_000


def _below(bound: float) -> float:
    """The largest number of four decimals up to `bound`, and safe from how `bound` was rounded."""
    return floor(bound * 10_000 - 1e-6) / 10_000


def _removed_layers(recipe: DepthRecipe, layers: int, width: int, count: ParameterCount) -> int:
    named = recipe.options.layers
    if named is not None:
        _require_usable(named, layers)
    if recipe.ratio is None:
        if named is None:
            raise UnclearCutError(
                "ratio",
                None,
                "this field is required.",
                "Give a ratio, or name the layers in options.layers.",
            )
        return len(named)
    removed = _layers_of_ratio(recipe.ratio, recipe.ratio_of, layers, width, count)
    if named is not None and removed != len(named):
        raise UnclearCutError(
            "ratio",
            recipe.ratio,
            f"of the {recipe.ratio_of} this is {removed} decoder layers, and options.layers names {len(named)}.",
            "Leave the ratio out, or name as many layers.",
        )
    return removed


def _count_without(recipe: DepthRecipe, family: Family, config: Config, removed: int) -> ParameterCount:
    """Count the model without the named layers, or as it is where layers are searched."""
    named, layers = recipe.options.layers, config[family.depth_field]
    if named is not None:
        changed = family.without(config, named)
        if changed is None:
            raise UnusableLayersError(
                "options.layers",
                list(named),
                f"its config cannot say which layers have experts once {name_layers(sorted(named))} are gone.",
                "Name others, or leave remote_code out.",
            )
        return family.count({**config, family.depth_field: layers - removed, **changed})
    length = removed if recipe.options.selection == "consecutive" else 1
    if any(family.without(config, cut) is None for cut in consecutive_cuts(layers, length)):
        raise UnusableLayersError(
            "options.layers",
            None,
            "its config cannot say which layers have experts once any others are gone.",
            "Name the layers, or leave remote_code out.",
        )
    return family.count(config)


def _require_usable(named: Sequence[int], layers: int) -> None:
    def refuse(reason: str, remedy: str) -> NoReturn:
        raise UnusableLayersError("options.layers", list(named), reason, remedy)

    beyond = [index for index in named if index >= layers]
    if beyond:
        refuse(f"the model has no layer {beyond[0]}.", f"Its {layers} decoder layers are 0 to {layers - 1}.")
    twice = [index for index in named if named.count(index) > 1]
    if twice:
        refuse(f"layer {twice[0]} is named more than once.", "Name each layer once.")
    if len(named) == layers:
        refuse(f"these are all {layers} decoder layers, and at least one must stay.", "Name fewer layers.")


def _layers_of_ratio(ratio: float, ratio_of: str, layers: int, width: int, count: ParameterCount) -> int:
    if ratio_of == "parameters":
        layer = count.layer_without_channels + width * count.channel
        share_of_layer = layer / count.total(layers, width)
    else:
        share_of_layer = 1 / layers
    exact = ratio / share_of_layer if ratio_of == "parameters" else ratio * layers
    removed = max(1, floor(exact + 0.5))
    if removed >= layers:
        raise CutTooLargeError(
            "ratio",
            ratio,
            f"{min(removed, layers)} of {layers} decoder layers would go, and at least one must stay.",
            f"Ask for at most {_below((layers - 0.5) * share_of_layer):.4f} of the {ratio_of}."
            if layers > 1
            else "A model of one layer has none to spare; narrow it with osscar.",
        )
    return removed
