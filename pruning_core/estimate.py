"""What a job will take and give, in bytes, from the config alone."""

from dataclasses import dataclass

from pruning_core.budgets import (
    ACTIVATION_CACHE_BYTES,
    FIT_TOKENS_PER_INPUT,
    LOGITS_PER_CHUNK,
    SWEEP_BYTES,
    TOKENS_PER_BATCH,
)
from pruning_core.models.description import Config, Family
from pruning_core.placement import MemoryPlan, Need, Room, place
from pruning_core.planning import Plan
from pruning_core.preflight import Preflight
from pruning_core.recipe import OsscarRecipe
from pruning_core.subject import Subject

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SOLVER_MATRICES = 11
"""Of intermediate size squared, in float64, that width pruning holds: sums and totals of both groups of windows, H,
H⁻¹, WWᵀ and temporaries of one layer. 9.1 were measured where float32 sufficed for the elimination, 10.7 where it
did not."""

ENDLESS = 2**62
"""Bytes of what nobody limits."""


class Estimate(Plan):
    """A plan with its sizes.

    Attributes:
        dtype: of weights and activations.
        result_bytes: of the pruned checkpoint's weights.
        peak_device_bytes: weights, what calibration holds, and the solver's matrices at the worst moment.
        least_device_bytes: the same with the calibration's hidden states put away, in the machine's memory or on disk.
        streamed_device_bytes: the same with one decoder layer at a time, read from the checkpoint; None for a model
            that can only be loaded as a whole.
        read_ahead_bytes: of the machine's memory then, for layers on their way to another device.
        calibration_bytes: what is put away.
        solver_bytes: of these, what sums over the tokens and the solver's matrices take, which can be in the machine's
            memory.
        beside_solver_bytes: of the device then.
        disk_bytes: most that the worker has written at a time, with nothing put away on disk: the result in each of its
            formats, the layers that were changed, and the pages of hidden states from which the next attempt would go
            on.
        memory_plan: where layers and hidden states go within the request's memory budget; None if it says nothing of
            the device, or if nothing fits.
    """

    dtype: str
    result_bytes: int
    peak_device_bytes: int
    least_device_bytes: int
    streamed_device_bytes: int | None
    read_ahead_bytes: int
    calibration_bytes: int
    solver_bytes: int
    beside_solver_bytes: int
    disk_bytes: int
    memory_plan: MemoryPlan | None = None

    @property
    def need(self) -> Need:
        """What decides where things go."""
        return Need(
            peak=self.peak_device_bytes,
            resident=self.least_device_bytes,
            streamed=self.streamed_device_bytes,
            read_ahead=self.read_ahead_bytes,
            hidden_states=self.calibration_bytes,
            solver=self.solver_bytes,
            beside_solver=self.beside_solver_bytes,
        )


def estimate(ready: Preflight) -> Estimate:
    """Estimate a recipe that passed its preflight, with its plan for the memory that it says there is."""
    sizes, room = sizes_of(ready), room_of_budget(ready)
    if room is None:
        return sizes
    return sizes.model_copy(update={"memory_plan": place(sizes.need, room, ready.recipe.weights_asked)})


def room_of_budget(ready: Preflight) -> Room | None:
    """What there is at most by the request's own budget; None if it says nothing of the device."""
    budget = ready.recipe.memory_budget
    if budget.device is None:
        return None
    return Room(budget.device, ENDLESS if budget.host is None else budget.host, ENDLESS)


def sizes_of(ready: Preflight) -> Estimate:
    """Estimate a recipe that passed its preflight, wherever it will run."""
    recipe, plan = ready.recipe, ready.plan
    dtype = dtype_of(recipe.dtype, ready.config)
    width, hidden = BYTES[dtype], ready.config["hidden_size"]
    samples, options = recipe.calibration.samples, recipe.options
    solver = search = window = experts = 0
    if isinstance(recipe, OsscarRecipe):
        solver = SOLVER_MATRICES * 8 * plan.intermediate_size_before**2
    else:
        # As many windows of every candidate as may be held, at least one, before and behind a layer, and their batches.
        window = plan.layers_before * recipe.calibration.sequence_length * hidden * width
        search = 3 * max(window, min(SWEEP_BYTES, window * recipe.options.search_windows(samples)))
        if recipe.options.heal == "none":
            samples = 0
        else:
            solver = 8 * 8 * plan.intermediate_size_before**2
    tokens = (samples + options.vocabulary_windows(samples)) * recipe.calibration.sequence_length
    hidden_states = tokens * hidden * width
    activations = tokens * plan.intermediate_size_before * width
    # The hidden states before and beside the MLP, what it gets, the dense model's, and what it should give.
    held = 3 + (options.drift_correction > 0) + (options.producer_steps > 0)
    if ready.family.experts is not None:
        # What all experts of a token should give more, and a layer's experts one by one and put together again.
        held += options.drift_correction > 0
        activations = 0
        experts = 2 * ready.family.count(ready.config).channel * plan.intermediate_size_after * width
    held_activations = activations if activations <= ACTIVATION_CACHE_BYTES else 0
    calibration = hidden_states * held + held_activations
    # What a fit of the producers looks at is fetched at once.
    examples = (
        2 * min(tokens, FIT_TOKENS_PER_INPUT * hidden) * hidden * width if options.producer_steps else 0
    )
    # Its producers, consumer and their steps, in float32.
    beside = 6 * 4 * plan.intermediate_size_before * hidden if options.producer_steps else 0
    passing = _passing(ready.family, ready.config, plan.intermediate_size_before, width)
    worked = solver + experts
    weights = plan.parameters_before * width
    result = plan.parameters_after * width
    return Estimate(
        **plan.model_dump(),
        dtype=dtype,
        result_bytes=result,
        peak_device_bytes=weights + max(calibration, search) + worked,
        least_device_bytes=weights + max(min(examples, calibration), search) + worked,
        streamed_device_bytes=passing.streamed + min(examples, calibration) + worked
        if ready.source.streamable
        else None,
        read_ahead_bytes=passing.read_ahead,
        calibration_bytes=max(calibration, window),
        solver_bytes=solver,
        beside_solver_bytes=min(beside, solver),
        # A page and the one that replaces it.
        disk_bytes=(1 + len(recipe.formats)) * result
        + 2 * hidden_states * (1 + (options.drift_correction > 0)),
    )


def evaluation_need(subject: Subject, dtype: str, tokens: int) -> Need:
    """What it takes to measure a perplexity on so many tokens."""
    family, config = subject.family, subject.config
    width = BYTES[dtype_of(dtype, config)]
    intermediate_size = config[family.width_field]
    weights = family.count(config).total(config[family.depth_field], intermediate_size) * width
    passing = _passing(family, config, intermediate_size, width)
    return Need(
        peak=weights + passing.batch,
        resident=weights + passing.batch,
        streamed=passing.streamed if subject.source.streamable else None,
        read_ahead=passing.read_ahead,
        hidden_states=tokens * config["hidden_size"] * width,
    )


@dataclass(frozen=True)
class _Passing:
    """What a batch takes that passes layers which are read one at a time.

    Attributes:
        batch: its activations in a layer, and its logits in float32 with their softmax.
        streamed: that, what is around the layers, the layer that is open, and two more: the one that comes next, and
            one while experts are put together or a layer is stored.
        read_ahead: of the machine's memory, where the device is another.
    """

    batch: int
    streamed: int
    read_ahead: int


def _passing(family: Family, config: Config, intermediate_size: int, width: int) -> _Passing:
    count = family.count(config)
    layer = (count.layer_without_channels + intermediate_size * count.channel) * width
    batch = (
        TOKENS_PER_BATCH * (4 * intermediate_size + 8 * config["hidden_size"]) * width + 8 * LOGITS_PER_CHUNK
    )
    return _Passing(batch, batch + count.outside_layers * width + 3 * layer, 2 * layer)


def dtype_of(asked: str, config: Config) -> str:
    """The dtype of weights and activations, as far as the config tells."""
    if asked != "auto":
        return asked
    stored = config.get("dtype") or config.get("torch_dtype")
    # GGUF is dequantised to float32, which is also what transformers assumes when a config does not say.
    return stored if stored in BYTES else "float32"
