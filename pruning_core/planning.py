"""What a recipe will cut, to the channel and the parameter, from the config alone."""

from math import floor

from pydantic import BaseModel

from pruning_core.errors import CutTooLargeError, CutTooSmallError
from pruning_core.models.description import Config, Family, ParameterCount
from pruning_core.recipe import OsscarRecipe, Recipe

MINIMUM_WIDTH = 128
"""Channels that must stay: one tile of a GPU's matrix unit, below which a smaller MLP is not a faster one."""


class Plan(BaseModel):
    """Sizes before and after; parameters count tied weights once."""

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
    """
    layers, width = config[family.depth_field], config[family.width_field]
    count = family.count(config)
    if isinstance(recipe, OsscarRecipe):
        kept_layers, kept_width = layers, _kept_width(recipe, width, layers, count)
    else:
        removed = _removed_layers(recipe.ratio, recipe.ratio_of, layers, width, count)
        kept_layers, kept_width = layers - removed, width
    before, after = count.total(layers, width), count.total(kept_layers, kept_width)
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
        exact = width - recipe.ratio * count.total(layers, width) / (layers * count.channel)
    else:
        exact = int(width * (1 - recipe.ratio))
    kept = _nearest_multiple(exact, multiple)
    if kept >= width:
        raise CutTooSmallError(
            "ratio",
            recipe.ratio,
            f"all {width} channels would stay, since widths are multiples of {multiple} (options.width_multiple).",
            f"Ask for at least {(width - _largest_cut(width, multiple)) / width:.4f} of the channels, "
            "or for a smaller options.width_multiple.",
        )
    if kept < MINIMUM_WIDTH:
        raise CutTooLargeError(
            "ratio",
            recipe.ratio,
            f"{max(kept, 0)} of {width} channels would stay, and at least {MINIMUM_WIDTH} must.",
            "Ask for a smaller ratio.",
        )
    return kept


def _nearest_multiple(value: float, multiple: int) -> int:
    return floor(value / multiple + 0.5) * multiple


def _largest_cut(width: int, multiple: int) -> int:
    """The widest MLP that is narrower than `width` and a multiple of `multiple`."""
    return (width - 1) // multiple * multiple


def _removed_layers(ratio: float, ratio_of: str, layers: int, width: int, count: ParameterCount) -> int:
    if ratio_of == "parameters":
        exact = ratio * count.total(layers, width) / (count.layer_without_channels + width * count.channel)
    else:
        exact = ratio * layers
    removed = max(1, floor(exact + 0.5))
    if removed >= layers:
        raise CutTooLargeError(
            "ratio",
            ratio,
            f"{removed} of {layers} decoder layers would go, and at least one must stay.",
            "Ask for less.",
        )
    return removed
