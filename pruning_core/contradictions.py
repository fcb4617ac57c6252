"""Options that cannot go together: what one asks for, the other would silently leave out."""

from pruning_core.errors import ContradictoryOptionsError
from pruning_core.recipe import DepthOptions, Recipe


def require_agreement(recipe: Recipe) -> None:
    """Refuse options of which one has no effect beside another.

    Raises:
        ContradictoryOptionsError: with both fields.
    """
    options = recipe.options
    if options.attention_refit and not options.drift_correction:
        raise ContradictoryOptionsError(
            "options.attention_refit",
            options.attention_refit,
            "options.drift_correction is 0, so there is no drift for the attention to repair.",
            "Leave options.attention_refit out, or ask for a drift_correction above 0.",
        )
    if isinstance(options, DepthOptions):
        _require_depth_agreement(options)


def _require_depth_agreement(options: DepthOptions) -> None:
    if options.attention_refit and options.heal == "none":
        raise ContradictoryOptionsError(
            "options.attention_refit",
            options.attention_refit,
            'options.heal is "none", so nothing is refitted.',
            "Leave options.attention_refit out, or options.heal.",
        )
    if options.parallelism > 1:
        _require_a_search_to_share(options)
    if options.score == "block_influence" and options.selection == "greedy":
        raise ContradictoryOptionsError(
            "options.selection",
            options.selection,
            'options.score is "block_influence", which ranks runs of consecutive layers only.',
            'Ask for options.selection "consecutive", or for options.score "perplexity".',
        )


def _require_a_search_to_share(options: DepthOptions) -> None:
    if options.layers is not None:
        raise ContradictoryOptionsError(
            "options.parallelism",
            options.parallelism,
            "options.layers names what goes, so there is no search that several workers could share.",
            "Leave options.parallelism out, or options.layers.",
        )
    if options.score != "perplexity":
        raise ContradictoryOptionsError(
            "options.parallelism",
            options.parallelism,
            f'options.score is "{options.score}", which is one pass of the model and not shared out.',
            'Leave options.parallelism out, or ask for options.score "perplexity".',
        )
