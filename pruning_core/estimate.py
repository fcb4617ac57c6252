"""What a job will take and give, in bytes, from the config alone."""

from pruning_core.budgets import ACTIVATION_CACHE_BYTES
from pruning_core.planning import Plan
from pruning_core.preflight import Preflight
from pruning_core.recipe import OsscarRecipe

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Estimate(Plan):
    """A plan with its sizes.

    Attributes:
        dtype: of weights and activations.
        result_bytes: of the pruned checkpoint's weights.
        peak_device_bytes: weights, hidden states and the solver's matrices at the worst moment.
        disk_bytes: the worker writes while the job runs.
    """

    dtype: str
    result_bytes: int
    peak_device_bytes: int
    disk_bytes: int


def estimate(ready: Preflight) -> Estimate:
    """Estimate a recipe that passed its preflight."""
    recipe, plan = ready.recipe, ready.plan
    dtype = _dtype(ready)
    width = BYTES[dtype]
    windows = recipe.calibration.samples * recipe.calibration.sequence_length
    hidden_states = windows * ready.config["hidden_size"] * width
    activations = windows * plan.intermediate_size_before * width
    if isinstance(recipe, OsscarRecipe):
        # AᵀA, H, H⁻¹ and WWᵀ of one layer in float64, and one temporary of their size.
        work = hidden_states + 5 * 8 * plan.intermediate_size_before**2
        work += activations if activations <= ACTIVATION_CACHE_BYTES else 0
    else:
        removed = plan.layers_before - plan.layers_after
        work = hidden_states * (plan.layers_before - removed + 2)
    result = plan.parameters_after * width
    return Estimate(
        **plan.model_dump(),
        dtype=dtype,
        result_bytes=result,
        peak_device_bytes=plan.parameters_before * width + work,
        disk_bytes=result,
    )


def _dtype(ready: Preflight) -> str:
    if ready.recipe.dtype != "auto":
        return ready.recipe.dtype
    stored = ready.config.get("dtype") or ready.config.get("torch_dtype")
    # GGUF is dequantised to float32, which is also what transformers assumes when a config does not say.
    return stored if stored in BYTES else "float32"
