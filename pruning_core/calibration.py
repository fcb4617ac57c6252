"""From a text to the windows of token ids that calibrate or measure."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pruning_core.recipe import CalibrationText, EvaluationText
from pruning_core.result import TextUsed
from pruning_core.text_source import TextSource, digest_text
from pruning_core.windows import cut_windows, draw_windows, require_windows


@dataclass(frozen=True)
class PreparedText:
    """Windows of token ids, [windows, positions], and where they came from."""

    windows: Tensor
    used: TextUsed


@dataclass(frozen=True)
class CalibrationWindows(PreparedText):
    """With windows of the same text that do not calibrate, [few or no windows, positions]."""

    held_out: Tensor


def calibration_windows(
    asked: CalibrationText, text: TextSource, tokenizer: PreTrainedTokenizerBase
) -> CalibrationWindows:
    """Draw the calibration windows.

    Raises:
        TextTooShortError: the text gives fewer windows than asked for.
    """
    content = text.read()
    tokens = tokenize(content, tokenizer)
    require_windows("calibration", asked.samples, len(tokens), asked.sequence_length)
    drawn, held_out = draw_windows(tokens, asked.sequence_length, asked.samples, asked.seed)
    prepared = _prepare(content, asked, drawn)
    return CalibrationWindows(
        prepared.windows,
        prepared.used,
        held_out=torch.tensor(held_out, dtype=torch.long).view(-1, asked.sequence_length),
    )


def vocabulary_windows(
    asked: CalibrationText, count: int, tokenizer: PreTrainedTokenizerBase, vocabulary: int
) -> Tensor:
    """Draw windows of random tokens, [count, sequence length], every ordinary token as likely as any other.

    A calibration text uses a small part of the vocabulary and repeats its own subjects. Channels that answer to other
    tokens look idle on it; these windows wake them.
    """
    special = set(tokenizer.all_special_ids)
    ordinary = torch.tensor(
        [token for token in range(min(len(tokenizer), vocabulary)) if token not in special]
    )
    generator = torch.Generator().manual_seed(asked.seed)
    return ordinary[torch.randint(len(ordinary), (count, asked.sequence_length), generator=generator)]


def evaluation_windows(
    asked: EvaluationText, text: TextSource, tokenizer: PreTrainedTokenizerBase
) -> PreparedText:
    """Cut the evaluation windows, all of the text's when `asked` does not say how many.

    Raises:
        TextTooShortError: the text gives fewer windows than asked for.
    """
    content = text.read()
    tokens = tokenize(content, tokenizer)
    require_windows("evaluation", asked.samples or 1, len(tokens), asked.sequence_length)
    return _prepare(content, asked, cut_windows(tokens, asked.sequence_length, asked.samples))


def tokenize(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokenise a whole text at once, as published WikiText-2 perplexities do."""
    # `verbose=False`: the text is longer than the model's positions on purpose, windows are cut from it.
    tokens: list[int] = tokenizer(text, verbose=False)["input_ids"]
    return tokens


def _prepare(
    content: str, asked: CalibrationText | EvaluationText, windows: Sequence[Sequence[int]]
) -> PreparedText:
    return PreparedText(
        windows=torch.tensor(windows, dtype=torch.long),
        used=TextUsed(
            dataset=asked.dataset,
            sha256=digest_text(content),
            windows=len(windows),
            sequence_length=asked.sequence_length,
        ),
    )
