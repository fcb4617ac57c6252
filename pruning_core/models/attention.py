"""The attention of a decoder layer, as far as it can be refitted: its last linear."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from pruning_core.models.description import Family
from pruning_core.models.projection import Projection
from pruning_core.models.residual import Junction


class AttentionOutput:
    """What the heads give to the residual stream.

    Attributes:
        projection: from the heads' outputs, all side by side.
        junction: how its output is added.
    """

    def __init__(self, layer: nn.Module, family: Family) -> None:
        self.projection = Projection(layer.get_submodule(family.attention.output))
        self.junction = Junction(layer, family.attention)
        self._sequence_first = family.sequence_first

    @contextmanager
    def heard(self) -> Iterator[list[Tensor]]:
        """For as long as it is entered, hear what the heads give, [tokens, heads × dimensions] each time."""
        heard: list[Tensor] = []

        def hear(_: nn.Module, given: tuple[Tensor]) -> None:
            (heads,) = given
            heard.append((heads.transpose(0, 1) if self._sequence_first else heads).flatten(0, -2))

        hook = self.projection.module.register_forward_pre_hook(hear)
        try:
            yield heard
        finally:
            hook.remove()
