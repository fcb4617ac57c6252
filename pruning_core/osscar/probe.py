"""Perplexity of the partly pruned model, while the layers behind are still dense."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core.events import PerplexityPoint
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import Walk
from pruning_core.perplexity import exponentiate, loss_sum, predictions
from pruning_core.progress import CostModel, Meter
from pruning_core.resting import RestingStream
from pruning_core.result import TextUsed
from pruning_core.shelf import Kept, Shelf

SHARE_OF_JOB = 0.1
WINDOWS = 4
MAXIMUM_POINTS = 8


@dataclass(frozen=True)
class ProbePlan:
    """How many windows are probed, and after which numbers of pruned layers.

    `cost` is in the units of `CostModel`.
    """

    windows: int
    after_layers: frozenset[int]
    cost: float


NO_PROBE = ProbePlan(0, frozenset(), 0.0)


def plan_probe(layers: int, evaluation: TextUsed, costs: CostModel, job_cost: float) -> ProbePlan:
    """Spread as many points over the layers as `SHARE_OF_JOB` of the job's cost pays for.

    Args:
        layers: decoder layers of the model.
        evaluation: the text whose first windows are probed.
        costs: what a token costs.
        job_cost: the job without the probe.
    """
    budget = SHARE_OF_JOB * job_cost
    for probed in range(min(WINDOWS, evaluation.windows), 0, -1):
        tokens = probed * evaluation.sequence_length
        for points in range(min(MAXIMUM_POINTS, layers), 1, -1):
            after = frozenset(round(layers * step / points) for step in range(points))
            behind = sum(tokens * (layers - pruned + costs.head) for pruned in after)
            cost = tokens * layers + behind
            if cost <= budget:
                return ProbePlan(probed, after, cost)
    return NO_PROBE


class PerplexityProbe:
    """A few evaluation windows that follow the pruning through the layers."""

    def __init__(self, model: LayeredModel, windows: Tensor, meter: Meter, shelf: Shelf) -> None:
        self._model, self._meter = model, meter
        self._windows = windows
        self._stream = RestingStream(model.embed(windows), shelf)

    def going_on(self) -> dict[str, Kept]:
        """What the windows take to the next layer."""
        return {"probe": self._stream.rest()}

    def restore(self, walk: Walk) -> None:
        """Let the windows stand where they had come to."""
        self._stream.restore(walk.tensor("probe"))

    @torch.no_grad()
    def measure(self, pruned: int) -> PerplexityPoint:
        """Run the windows through the layers from `pruned` on, which are dense."""
        hidden = self._stream.hidden
        for index in range(pruned, len(self._model)):
            with self._model.open(index) as layer:
                hidden = self._stream.output(layer, index, hidden)
            self._meter.layer(self._windows.numel())
        loss = loss_sum(self._model, hidden, self._stream.tokens) / predictions(self._windows)
        self._meter.head(self._windows.numel())
        return PerplexityPoint(pruned, exponentiate(loss), len(self._windows))

    @torch.no_grad()
    def advance(self, layer: nn.Module, index: int) -> None:
        """Follow through decoder layer `index`, which has been pruned."""
        self._stream.advance(layer, index)
        self._meter.layer(self._windows.numel())
