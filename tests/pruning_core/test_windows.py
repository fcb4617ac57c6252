"""Windows cut and drawn from a text."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.errors import TextTooShortError, TooFewTokensError
from pruning_core.windows import cut_windows, draw_windows, require_calibration_tokens, require_windows


@given(tokens=st.integers(0, 300), length=st.integers(1, 50), samples=st.none() | st.integers(1, 20))
def test_windows_are_the_text_from_its_beginning_without_gap_or_overlap(
    tokens: int, length: int, samples: int | None
) -> None:
    text = list(range(tokens))
    windows = cut_windows(text, length, samples)
    assert list(chain(*windows)) == text[: len(windows) * length]
    assert len(windows) == min(tokens // length, samples or tokens)


@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(0, 20))
def test_drawn_windows_are_different_windows_of_the_text(seed: int, samples: int) -> None:
    text = list(range(205))
    drawn, held_out = draw_windows(text, 10, samples, seed)
    assert len(drawn) == samples
    assert len(held_out) == (samples < 20)
    assert not [window for window in held_out if window in drawn]
    assert len({window[0] for window in drawn}) == samples
    assert all(window in cut_windows(text, 10) for window in drawn)
    assert (drawn, held_out) == draw_windows(text, 10, samples, seed)


@pytest.mark.parametrize(("samples", "expected"), [(1, 1), (64, 4), (90, 6), (97, 3), (100, 0)])
def test_a_sixteenth_as_many_windows_are_held_out_as_are_left_over(samples: int, expected: int) -> None:
    drawn, held_out = draw_windows(list(range(1000)), 10, samples, seed=3)
    assert len({window[0] for window in held_out} - {window[0] for window in drawn}) == expected


def test_seeds_differ() -> None:
    text = list(range(1000))
    assert draw_windows(text, 10, 5, seed=0) != draw_windows(text, 10, 5, seed=1)


def test_a_calibration_of_too_few_tokens_is_refused_with_how_many_windows_would_do() -> None:
    require_calibration_tokens(4, 64)
    require_calibration_tokens(1, 128)
    with pytest.raises(
        TooFewTokensError, match=r"these are 96 tokens, .* Ask for at least 3 samples"
    ) as refused:
        require_calibration_tokens(2, 48)
    assert (refused.value.field, refused.value.value) == ("calibration.samples", 2)


def test_a_text_that_just_suffices_is_taken_and_one_token_less_is_not() -> None:
    require_windows("calibration", 4, 40, 10)
    with pytest.raises(TextTooShortError, match="39 tokens, enough for 3 windows of 10"):
        require_windows("calibration", 4, 39, 10)
