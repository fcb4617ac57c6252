"""The side door, for who helps with a search: a recipe and a share of its windows in, their losses out."""

from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from pruning_core import checkpoint
from pruning_core.calibration import calibration_windows
from pruning_core.depth.conditions import Conditions
from pruning_core.depth.share import Share
from pruning_core.depth.sweep import score_batches
from pruning_core.devices import find_device
from pruning_core.errors import OtherConditionsError
from pruning_core.events import ignore
from pruning_core.memory import NO_BUDGET, plan_memory
from pruning_core.model_code import Trusted
from pruning_core.opening import open_model
from pruning_core.paths import Roots
from pruning_core.preflight import Preflight
from pruning_core.progress import CostModel, Meter
from pruning_core.recipe import DepthRecipe, MemoryBudget


def score_share(
    recipe: DepthRecipe,
    share: Share,
    conditions: Conditions,
    *,
    roots: Roots = None,
    trusted: Trusted = (),
    allow_pickle: bool = False,
    device: str = "auto",
    memory_budget: MemoryBudget = NO_BUDGET,
) -> Tensor:
    """Score a share of the search that `prune` does with the same recipe.

    Args:
        recipe: that of the process that searches.
        share: what it asks for.
        conditions: its own.
        roots: folders that local paths must lie under; None for anywhere.
        trusted: whose own code may run, see `pruning_core.model_code`.
        allow_pickle: whether pickled weights may be read.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …
        memory_budget: what any job may take here.

    Returns:
        [cuts, windows, positions − 1], float32, in nats, on the CPU: what that process itself would get.

    Raises:
        OtherConditionsError: this process would not get the same.
        RecipeError: the recipe cannot be carried out here; raised before the weights are read.
        BrokenModelError: a weight is not finite.
    """
    where = find_device(device)
    ready = Preflight(recipe, roots, trusted, allow_pickle=allow_pickle)
    # A share takes no more than the job it is of.
    plan, shelf = plan_memory(ready, where, None, memory_budget)
    text = calibration_windows(
        recipe.calibration, ready.calibration, checkpoint.load_tokenizer(ready.source)
    ).windows
    windows = text[: recipe.options.search_windows(len(text))]
    with TemporaryDirectory(prefix="secateur-") as work:
        model = open_model(ready.source, ready.family, recipe.dtype, where, plan.weights, Path(work))
        ours = Conditions.of(model, windows)
        if ours != conditions:
            raise OtherConditionsError(f"the search runs under {conditions}, and this process under {ours}")
        meter = Meter(CostModel.of(ready.family, ready.config), total=1.0, on_event=ignore)
        return score_batches(model, share.of(windows), share.cuts, meter, shelf)
