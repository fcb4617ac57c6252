"""Options that cannot go together: what one asks for, the other would silently leave out."""

from pruning_core.errors import ContradictoryOptionsError
from pruning_core.recipe import Recipe


def require_agreement(recipe: Recipe) -> None:
    """Refuse options of which one has no effect beside another.

    Raises:
        ContradictoryOptionsError: with both fields.
    """
    if recipe.method != "depth":
        return
    options = recipe.options
    if options.score == "block_influence" and options.selection == "greedy":
        raise ContradictoryOptionsError(
            "options.selection",
            options.selection,
            'options.score is "block_influence", which ranks runs of consecutive layers only.',
            'Ask for options.selection "consecutive", or for options.score "perplexity".',
        )
