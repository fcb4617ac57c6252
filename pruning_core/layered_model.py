"""The one interface through which algorithms visit a model: a decoder layer at a time.

An algorithm never holds a whole model. It asks for layer i on the device, runs it, may give it back changed, and goes
on. Whether the other layers are in memory meanwhile is the model's business alone: here they are, in
`pruning_core.streaming` they are not.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pruning_core import budgets
from pruning_core.layer_files import LayerFiles, give_weights
from pruning_core.models.description import Family

LAYER_NUMBERS = {"layer_idx": 0, "layer_number": 1}
"""What decoder layers and their parts call their number, and where they begin to count."""


@dataclass(frozen=True)
class Call:
    """What a model gives a decoder layer behind the hidden states."""

    positional: tuple[Any, ...]
    by_name: dict[str, Any]


@dataclass
class Stream:
    """Hidden states on their way through the layers.

    Attributes:
        tokens: [windows, positions], the token ids.
        hidden: [windows, positions, hidden size], the input of the next decoder layer.
        calls: for each decoder layer, what the model gives it beside them (masks, rotary embeddings).
        sequence_first: whether the layers take [positions, windows, hidden size].
    """

    tokens: Tensor
    hidden: Tensor
    calls: list[Call]
    sequence_first: bool

    def run(self, layer: nn.Module, index: int, hidden: Tensor | None = None) -> Tensor:
        """Run decoder layer `index` on the hidden states, or on others of the same shape."""
        hidden, call = self.hidden if hidden is None else hidden, self.calls[index]
        output = layer(_turn(hidden, self.sequence_first), *call.positional, **call.by_name)
        return _turn(output[0] if isinstance(output, tuple) else output, self.sequence_first)


class LayeredModel(Protocol):
    """A causal language model, one decoder layer at a time.

    Attributes:
        model: its modules; decoder layers that are not open may be without weights.
        family: how they are described.
    """

    model: PreTrainedModel
    family: Family

    @property
    def config(self) -> Any: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and hidden states."""

    @property
    def resident(self) -> bool:
        """Whether its layers stay on the device, so that opening one costs nothing."""

    def __len__(self) -> int:
        """Count the decoder layers."""

    def open(self, index: int) -> AbstractContextManager[nn.Module]:
        """Lend decoder layer `index` on the device."""

    def store(self, index: int, layer: nn.Module) -> None:
        """Take decoder layer `index` back, changed."""

    def remove(self, indices: Collection[int]) -> None:
        """Take decoder layers out; those behind move up, and are numbered anew."""

    def embed(self, tokens: Tensor) -> Stream:
        """Start a stream: [windows, positions] token ids to the first decoder layer's input."""

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, hidden size] behind the last decoder layer to [1, tokens, vocabulary]."""


class ResidentModel:
    """A `LayeredModel` whose layers all stay on the device."""

    resident = True

    def __init__(self, model: PreTrainedModel, family: Family, changed: LayerFiles | None = None) -> None:
        """Take a model that is in memory.

        Args:
            model: it.
            family: how it is described.
            changed: keeps layers that are changed as well, and has those that were changed before; None to keep none.
        """
        self.model = model.eval()
        self.family = family
        parent, _, self._list_name = family.layers.rpartition(".")
        self._parent = model.get_submodule(parent)
        self._changed = changed
        if changed is not None:
            for place in changed:
                give_weights(self._layers[place], changed.read(place), self.device)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def _layers(self) -> nn.ModuleList:
        layers = getattr(self._parent, self._list_name)
        assert isinstance(layers, nn.ModuleList)  # noqa: S101  a family's description is wrong, not the user's input
        return layers

    def __len__(self) -> int:
        return len(self._layers)

    @contextmanager
    def open(self, index: int) -> Iterator[nn.Module]:
        yield self._layers[index]

    def store(self, index: int, layer: nn.Module) -> None:
        self._layers[index] = layer
        if self._changed is not None:
            self._changed.put(index, layer)

    def remove(self, indices: Collection[int]) -> None:
        kept = [layer for index, layer in enumerate(self._layers) if index not in indices]
        setattr(self._parent, self._list_name, nn.ModuleList(kept))
        for module in self.model.modules():
            # ChatGLM's loop over its layers goes by a count of its own.
            if hasattr(module, self.family.depth_field):
                setattr(module, self.family.depth_field, len(kept))
        for index, layer in enumerate(kept):
            _renumber(layer, index)

    def embed(self, tokens: Tensor) -> Stream:
        tokens = tokens.to(self.device)
        calls: list[Call] = []
        inputs: list[Tensor] = []

        def record(hidden_states: Tensor, *positional: Any, **by_name: Any) -> Tensor:
            inputs.append(hidden_states)
            calls.append(Call(positional, by_name))
            return hidden_states

        with self._layers_doing(record):
            self.model.base_model(input_ids=tokens, use_cache=False)
        sequence_first = self.family.sequence_first
        return Stream(tokens, _turn(inputs[0], sequence_first), calls, sequence_first)

    def logits(self, hidden: Tensor) -> Tensor:
        flat = hidden.reshape(1, -1, hidden.shape[-1])

        def inject(*_: Any, **__: Any) -> Tensor:
            return _turn(flat, self.family.sequence_first)

        # The model's own forward behind its layers: final norm, head, and whatever a family does to its logits.
        with self._layers_doing(inject):
            # A row for each token, for no model has positions for so many in one.
            placeholder = torch.zeros(flat.shape[1], 1, dtype=torch.long, device=self.device)
            logits: Tensor = self.model(input_ids=placeholder, use_cache=False).logits
        return logits.reshape(1, flat.shape[1], -1)

    @contextmanager
    def _layers_doing(self, forward: Callable[..., Tensor]) -> Iterator[None]:
        """Let every decoder layer do something else than decode, for a while."""

        def give(*arguments: Any, **by_name: Any) -> Tensor | tuple[Tensor, None]:
            hidden = forward(*arguments, **by_name)
            return (hidden, None) if self.family.layers_give_tuples else hidden

        layers = list(self._layers)
        try:
            for layer in layers:
                layer.forward = give
            yield
        finally:
            for layer in layers:
                layer.__dict__.pop("forward", None)


def _renumber(layer: nn.Module, index: int) -> None:
    """Tell a decoder layer and its parts their number, by which they find their slot of the KV cache."""
    for module in layer.modules():
        for name, first in LAYER_NUMBERS.items():
            if hasattr(module, name):
                setattr(module, name, first + index)


def _turn(hidden: Tensor, sequence_first: bool) -> Tensor:
    """Between windows first, as in a `Stream`, and the order of the decoder layers."""
    return hidden.transpose(0, 1).contiguous() if sequence_first else hidden


def batches(windows: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Split [windows, positions] into batches that suit the device."""
    yield from windows.split(batch_size(windows.shape[1], device))


def batch_size(positions: int, device: torch.device) -> int:
    """How many windows of so many positions make a batch that suits the device."""
    tokens = budgets.TOKENS_PER_CPU_BATCH if device.type == "cpu" else budgets.TOKENS_PER_BATCH
    return max(1, tokens // positions)
