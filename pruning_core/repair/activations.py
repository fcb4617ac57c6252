"""What the calibration text sends into an MLP and through it."""

from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from pruning_core import budgets
from pruning_core.models.mlp import MlpChannels


def fit_in_cache(tokens: int, channels: int, dtype: torch.dtype) -> bool:
    """Tell whether one layer's activations on `tokens` tokens may be held."""
    return tokens * channels * dtype.itemsize <= budgets.ACTIVATION_CACHE_BYTES


class SilencedMlp:
    """Keeps what the MLP and its consumer get, and lets the consumer give zeros, for as long as it is entered.

    A decoder layer that runs meanwhile gives the residual stream beside the MLP, to which the dense A W, or the
    pruned A_S V, is then added without running the layer again. This holds where the MLP's output is added to the
    residual stream as it is.

    Attributes:
        inputs: [tokens, inputs], what the MLP got.
        activations: [tokens, channels], what the consumer got, A.
    """

    def __init__(self, channels: MlpChannels, *, sequence_first: bool = False) -> None:
        """Listen to an MLP whose layer takes [windows, positions, inputs], or [positions, windows, inputs]."""
        self.inputs: Tensor
        self.activations: Tensor
        self._sequence_first = sequence_first
        self._consumer = channels.consumer
        self._listener = channels.producers[0].register_forward_pre_hook(self._hear)

    def __enter__(self) -> Self:
        self._consumer.forward = self._silence  # type: ignore[method-assign, assignment]  # for a while
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.remove()
        del self._consumer.forward

    def _hear(self, _producer: object, arguments: tuple[Tensor]) -> None:
        self.inputs = self._tokens(arguments[0])

    def _silence(self, activations: Tensor) -> Tensor:
        self.activations = self._tokens(activations)
        return activations.new_zeros(*activations.shape[:-1], self._consumer.out_features)

    def _tokens(self, values: Tensor) -> Tensor:
        """One row a token, in the order of the windows."""
        return (values.transpose(0, 1) if self._sequence_first else values).flatten(0, -2)
