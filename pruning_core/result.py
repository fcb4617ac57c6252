"""What a pruning gives: the numbers a user decides by, and what is needed to understand them."""

from pydantic import BaseModel, Field

from pruning_core.base_card import BaseCard
from pruning_core.events import Precision
from pruning_core.placement import MemoryPlan
from pruning_core.planning import Plan
from pruning_core.recipe import DepthRecipe, MemoryBudget, OsscarRecipe


class LayerLoss(BaseModel):
    """What the MLP of one decoder layer lost, see `events.LayerPruned`."""

    layer: int
    error: float
    precision: Precision
    refit_damping: float


class HealedLayer(BaseModel):
    """The MLP of one decoder layer that was fitted to the layers that are gone, see `events.LayerHealed`."""

    layer: int
    error: float
    refit_damping: float


class Candidate(BaseModel):
    """Decoder layers that could have gone, and how the model stood without them, see `events.CandidateScored`."""

    layers: list[int]
    perplexity: float | None
    low: float | None
    high: float | None
    tokens: int
    in_race: bool
    healed: float | None
    block_influence: float | None


class HeldOut(BaseModel):
    """Perplexity on windows of the calibration text that did not calibrate, see `events.HeldOutMeasured`."""

    perplexity_before: float
    perplexity_after: float
    windows: int


class TextUsed(BaseModel):
    """A text as it was used: enough to tell whether another run read the same."""

    dataset: str
    sha256: str
    windows: int
    sequence_length: int


class Machine(BaseModel):
    """Where a pruning ran: the last bit of a sum depends on the processor, what it can do, and the threads.

    `gpu` is None where the CPU pruned; `memory_bytes` are the machine's.
    """

    system: str
    processor: str
    capability: str
    cores: int
    threads: int
    memory_bytes: int
    gpu: str | None
    cuda: str | None


class PruneResult(BaseModel):
    """The outcome of `pruning_core.prune`. Parameters count tied weights once; perplexities are in `dtype`.

    `base_card` is what the base model's publisher says. `base_digests` has the SHA-256 of each file of a local base
    model; one on the Hub is pinned by `recipe.model.revision`, a commit. `memory_plan` is where layers and hidden
    states were, within `memory_budget`, what any job may take there. `vocabulary_windows` of random tokens calibrated
    beside the text's. `held_out` is None where the whole text calibrates. `converted_to` is the native family of a
    model whose own code was not run.
    """

    recipe: OsscarRecipe | DepthRecipe = Field(discriminator="method")
    base_card: BaseCard
    base_digests: dict[str, str]
    converted_to: str | None
    plan: Plan
    removed_layers: list[int]
    perplexity_before: float
    perplexity_after: float
    parameters_before: int
    parameters_after: int
    dtype: str
    device: str
    machine: Machine
    memory_budget: MemoryBudget
    memory_plan: MemoryPlan
    calibration: TextUsed
    vocabulary_windows: int
    held_out: HeldOut | None
    evaluation: TextUsed
    layer_losses: list[LayerLoss]
    candidates: list[Candidate]
    healed_layers: list[HealedLayer]
    seconds: float
    peak_rss_bytes: int
    versions: dict[str, str]
