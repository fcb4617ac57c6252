"""A tokenised text cut into windows of equal length."""

import random
from collections.abc import Sequence
from math import ceil

from pruning_core.errors import TextTooShortError, TooFewTokensError

MINIMUM_CALIBRATION_TOKENS = 128
"""Below this the choice of channels or layers is chance. Good ones take tens of thousands."""

HELD_OUT_SHARE = 1 / 16
"""Held-out windows for each drawn one: enough to see overfitting, few enough not to be felt."""


def count_windows(tokens: int, sequence_length: int) -> int:
    return tokens // sequence_length


def minimum_samples(sequence_length: int) -> int:
    """The fewest windows of this length that may calibrate."""
    return ceil(MINIMUM_CALIBRATION_TOKENS / sequence_length)


def require_calibration_tokens(samples: int, sequence_length: int) -> None:
    """Refuse a calibration of fewer than `MINIMUM_CALIBRATION_TOKENS`.

    Raises:
        TooFewTokensError: with the number of windows that would do.
    """
    tokens = samples * sequence_length
    if tokens < MINIMUM_CALIBRATION_TOKENS:
        raise TooFewTokensError(
            "calibration.samples",
            samples,
            f"with windows of {sequence_length} these are {tokens} tokens, and at least "
            f"{MINIMUM_CALIBRATION_TOKENS} must calibrate.",
            f"Ask for at least {minimum_samples(sequence_length)} samples.",
        )


def require_windows(
    field: str, samples: int, tokens: int, sequence_length: int, *, at_most: bool = False
) -> None:
    """Refuse a text of `tokens` tokens (`at_most`: of no more than that) that cannot give `samples` windows.

    Raises:
        TextTooShortError: with the number of windows that would fit.
    """
    possible = count_windows(tokens, sequence_length)
    if possible >= samples:
        return
    held = f"the text has {'at most ' if at_most else ''}{tokens} tokens,"
    if samples == 1:
        raise TextTooShortError(
            f"{field}.sequence_length",
            sequence_length,
            f"{held} which do not fill a window of {sequence_length}.",
            "Ask for a shorter sequence_length, or give a longer text.",
        )
    raise TextTooShortError(
        f"{field}.samples",
        samples,
        f"{held} enough for {possible} window{'' if possible == 1 else 's'} of {sequence_length}.",
        "Ask for fewer samples, for a shorter sequence_length, or give a longer text.",
    )


def cut_windows(tokens: Sequence[int], sequence_length: int, samples: int | None = None) -> list[list[int]]:
    """Cut `tokens` into the first `samples` non-overlapping windows; the rest that fills no window is left out."""
    possible = count_windows(len(tokens), sequence_length)
    wanted = possible if samples is None else min(samples, possible)
    return [list(tokens[i * sequence_length : (i + 1) * sequence_length]) for i in range(wanted)]


def draw_windows(
    tokens: Sequence[int], sequence_length: int, samples: int, seed: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Draw `samples` of the text's non-overlapping windows, without replacement, in the text's order.

    Returns:
        The windows drawn, and a few of the others, spread over the text; none where all were drawn.
    """
    windows = cut_windows(tokens, sequence_length)
    # Not a secret: the seed is there so that the same request draws the same windows.
    chosen = set(random.Random(seed).sample(range(len(windows)), samples))  # noqa: S311  not a secret
    others = [window for index, window in enumerate(windows) if index not in chosen]
    held_out = min(len(others), max(1, round(samples * HELD_OUT_SHARE)))
    step = len(others) / held_out if held_out else 0.0
    return (
        [windows[index] for index in sorted(chosen)],
        [others[int(step * (number + 0.5))] for number in range(held_out)],
    )
