"""What a pruning tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

Precision = Literal["float32", "float64"]
Stage = Literal["loading", "calibrating", "pruning", "evaluating"]


@dataclass(frozen=True)
class StageStarted:
    kind: ClassVar[str] = "stage"
    stage: Stage


@dataclass(frozen=True)
class Progress:
    """Share of the whole work that is done, weighted by its cost, and what is left at the pace so far.

    `layer_tokens` are the tokens that went through a decoder layer since this process began, once for each layer.
    """

    kind: ClassVar[str] = "progress"
    fraction: float
    eta_seconds: int | None
    layer_tokens: int = 0


@dataclass(frozen=True)
class DenseMeasured:
    """The model as it came: its perplexity on the evaluation text, parameters and dtype."""

    kind: ClassVar[str] = "dense"
    perplexity: float
    parameters: int
    dtype: str


@dataclass(frozen=True)
class LayerPruned:
    """A decoder layer lost channels.

    `error` is the share of its target that the narrow MLP misses, ‖Ŷ − T‖² / ‖T‖² over the calibration tokens: 0 is
    nothing lost, 1 is the MLP gone. T is the dense MLP's output, blended with what repairs the drift of earlier layers.
    `precision` is what the channels were chosen in: float64 where float32 would have lost count. `refit_damping` is
    the λ that the refit took, as a share of the mean of AᵀA's diagonal.
    """

    kind: ClassVar[str] = "layer"
    layer: int
    error: float
    precision: Precision
    refit_damping: float
    seconds: float


@dataclass(frozen=True)
class PerplexityPoint:
    """Perplexity of the model with its first `layer` layers pruned, on the first `windows` evaluation windows."""

    kind: ClassVar[str] = "perplexity"
    layer: int
    perplexity: float
    windows: int


@dataclass(frozen=True)
class HeldOutMeasured:
    """Perplexity before and after on windows of the calibration text that did not calibrate.

    Far better news here than on the evaluation text means that the pruning followed the calibration text too closely.
    """

    kind: ClassVar[str] = "held_out"
    perplexity_before: float
    perplexity_after: float
    windows: int


@dataclass(frozen=True)
class CandidateScored:
    """How the model without `layers` stands in the search.

    Attributes:
        layers: decoder layers that are left out, ascending.
        perplexity: on the first `tokens` predicted tokens of the search windows; NaN if it is not finite, None if it
            was not measured.
        low: least perplexity on all search windows, given the leader's, at the race's confidence; None for any.
        high: largest.
        tokens: how many that is; none without a perplexity.
        in_race: whether it may still be the best.
        healed: perplexity on all search windows after a trial heal; None without one.
        block_influence: 1 − cosine of the hidden states before and behind the layers; None unless it was asked for.
    """

    kind: ClassVar[str] = "candidate"
    layers: tuple[int, ...]
    perplexity: float | None
    low: float | None = None
    high: float | None = None
    tokens: int = 0
    in_race: bool = True
    healed: float | None = None
    block_influence: float | None = None


@dataclass(frozen=True)
class LayerHealed:
    """An MLP was fitted to a model that lost layers.

    `error` is the share of its target that it misses, ‖Ŷ − T‖² / ‖T‖²; `refit_damping` the λ that the refit took, as a
    share of the mean of AᵀA's diagonal. `layer` is counted in the dense model.
    """

    kind: ClassVar[str] = "healed"
    layer: int
    error: float
    refit_damping: float


Event = (
    StageStarted
    | Progress
    | DenseMeasured
    | LayerPruned
    | PerplexityPoint
    | CandidateScored
    | HeldOutMeasured
    | LayerHealed
)
OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """The listener of who does not want to know."""
