"""What the calibration text sends into an MLP's consumer."""

from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from pruning_core import budgets


def fit_in_cache(tokens: int, channels: int, dtype: torch.dtype) -> bool:
    """Tell whether one layer's activations on `tokens` tokens may be held."""
    return tokens * channels * dtype.itemsize <= budgets.ACTIVATION_CACHE_BYTES


class SilencedConsumer:
    """Keeps the consumer's inputs A and lets it give zeros, for as long as it is entered.

    A decoder layer that runs meanwhile gives the residual stream beside the MLP, to which the dense A W, or the
    pruned A_S V, is then added without running the layer again. This holds where the MLP's output is added to the
    residual stream as it is.
    """

    def __init__(self, consumer: nn.Linear) -> None:
        self._consumer = consumer
        self._inputs: Tensor | None = None

    def __enter__(self) -> Self:
        self._consumer.forward = self._listen  # type: ignore[method-assign, assignment]  # for a while
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._consumer.forward

    def take(self) -> Tensor:
        """A of the run since the last call, [tokens, channels]."""
        inputs, self._inputs = self._inputs, None
        assert inputs is not None  # noqa: S101  a family's description is wrong, not the user's input
        return inputs

    def _listen(self, inputs: Tensor) -> Tensor:
        self._inputs = inputs.flatten(0, -2)
        return inputs.new_zeros(*inputs.shape[:-1], self._consumer.out_features)
