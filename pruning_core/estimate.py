"""What a job will take and give, in bytes, from the config alone."""

from pruning_core.budgets import ACTIVATION_CACHE_BYTES, FIT_TOKENS_PER_INPUT, SWEEP_BYTES
from pruning_core.planning import Plan
from pruning_core.preflight import Preflight
from pruning_core.recipe import OsscarRecipe

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Estimate(Plan):
    """A plan with its sizes.

    Attributes:
        dtype: of weights and activations.
        result_bytes: of the pruned checkpoint's weights.
        peak_device_bytes: weights, what calibration holds, and the solver's matrices at the worst moment.
        least_device_bytes: the same with the calibration's hidden states put away, in the machine's memory or on disk.
        calibration_bytes: what is put away then.
        disk_bytes: the worker writes while the job runs.
    """

    dtype: str
    result_bytes: int
    peak_device_bytes: int
    least_device_bytes: int
    calibration_bytes: int
    disk_bytes: int


def estimate(ready: Preflight) -> Estimate:
    """Estimate a recipe that passed its preflight."""
    recipe, plan = ready.recipe, ready.plan
    dtype = _dtype(ready)
    width, hidden = BYTES[dtype], ready.config["hidden_size"]
    samples, options = recipe.calibration.samples, recipe.options
    solver = search = 0
    if isinstance(recipe, OsscarRecipe):
        # Sums and totals of both groups of windows, H, H⁻¹, WWᵀ and temporaries of one layer, in float64: 9.1 such
        # matrices were measured where float32 sufficed for the elimination, 10.7 where it did not.
        solver = 11 * 8 * plan.intermediate_size_before**2
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
        solver += 2 * ready.family.count(ready.config).channel * plan.intermediate_size_after * width
    calibration = hidden_states * held
    held_activations = activations if activations <= ACTIVATION_CACHE_BYTES else 0
    # What a fit of the producers looks at is fetched at once.
    examples = (
        2 * min(tokens, FIT_TOKENS_PER_INPUT * hidden) * hidden * width if options.producer_steps else 0
    )
    weights = plan.parameters_before * width
    result = plan.parameters_after * width
    return Estimate(
        **plan.model_dump(),
        dtype=dtype,
        result_bytes=result,
        peak_device_bytes=weights + max(calibration + held_activations, search) + solver,
        least_device_bytes=weights + max(min(examples, calibration), search) + solver,
        calibration_bytes=calibration,
        disk_bytes=result,
    )


def _dtype(ready: Preflight) -> str:
    if ready.recipe.dtype != "auto":
        return ready.recipe.dtype
    stored = ready.config.get("dtype") or ready.config.get("torch_dtype")
    # GGUF is dequantised to float32, which is also what transformers assumes when a config does not say.
    return stored if stored in BYTES else "float32"
