"""Pruning of causal language models: OSSCAR width pruning and perplexity-guided depth pruning.

A library of its own: it knows models and tensors, nothing of jobs, HTTP or SQL. `prune` is the one door; recipes,
plans and preflight checks work without torch, which is imported when `prune` is first asked for.
"""

from typing import TYPE_CHECKING, Any

from pruning_core.recipe import DepthRecipe, OsscarRecipe, Recipe, parse_recipe

if TYPE_CHECKING:
    from pruning_core.pruning import prune
    from pruning_core.result import PruneResult

__all__ = ["DepthRecipe", "OsscarRecipe", "PruneResult", "Recipe", "parse_recipe", "prune"]


def __getattr__(name: str) -> Any:
    if name == "prune":
        from pruning_core.pruning import prune

        return prune
    if name == "PruneResult":
        from pruning_core.result import PruneResult

        return PruneResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
