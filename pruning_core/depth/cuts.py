"""Which decoder layers could go."""

from collections.abc import Sequence

Cut = tuple[int, ...]
"""Decoder layers to remove, ascending."""


def consecutive_cuts(layers: int, length: int) -> list[Cut]:
    """Every run of `length` layers."""
    return [tuple(range(start, start + length)) for start in range(layers - length + 1)]


def cuts_of_one_more(layers: int, removed: Cut) -> list[Cut]:
    """Every way to remove one more layer."""
    return [tuple(sorted((*removed, index))) for index in range(layers) if index not in removed]


def before(cut: Cut, index: int) -> Cut:
    """Those of its layers that come before layer `index`."""
    return tuple(layer for layer in cut if layer < index)


def staying(cuts: Sequence[Cut], index: int) -> list[Cut]:
    """What has been removed before layer `index`, once each, where that layer stays."""
    return list(dict.fromkeys(before(cut, index) for cut in cuts if index not in cut))


def layer_passes(layers: int, cuts: Sequence[Cut]) -> int:
    """How often a window passes a decoder layer while all the cuts are scored together.

    Models that removed the same layers so far are still the same model: they pass a layer once for all of them.
    """
    return sum(len(staying(cuts, index)) for index in range(layers))


def name_layers(layers: Sequence[int]) -> str:
    """Name runs by their ends: 3, 12–14."""
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    runs = zip(starts, ends, strict=True)
    return ", ".join(str(start) if start == end else f"{start}–{end}" for start, end in runs)
