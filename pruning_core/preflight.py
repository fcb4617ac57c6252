"""Everything that can be known to be wrong with a recipe before a model is loaded, checked without torch."""

from pathlib import Path

from pruning_core.contradictions import require_agreement
from pruning_core.errors import (
    ContradictoryOptionsError,
    RecipeError,
    SequenceTooLongError,
    UnreadableModelError,
    UnsupportedFamilyError,
)
from pruning_core.gguf_file.support import require_gguf
from pruning_core.model_code import Trusted
from pruning_core.model_source import ModelSource
from pruning_core.models.description import Config, Family
from pruning_core.paths import FileVersion, Roots
from pruning_core.planning import Plan, plan
from pruning_core.recipe import OsscarRecipe, Recipe
from pruning_core.subject import find_subject
from pruning_core.text_length import count_bytes, count_tokens
from pruning_core.text_source import TextSource, find_text
from pruning_core.tokenizer_source import require_tokenizer
from pruning_core.windows import require_calibration_tokens, require_windows


class Preflight:
    """A recipe that passed: its model and texts were found and its cut is possible.

    Attributes:
        recipe: the recipe, with a Hub revision pinned to its commit, and with the ratio that follows from named layers.
        source: where the model is.
        family: how the model is described.
        config: the checkpoint's config, with the family's defaults filled in.
        plan: what will be cut.
        calibration: the text that calibrates.
        evaluation: the text that measures.
    """

    def __init__(
        self, recipe: Recipe, roots: Roots, trusted: Trusted = (), *, allow_pickle: bool = False
    ) -> None:
        """Check `recipe`.

        Args:
            recipe: what is asked.
            roots: the folders that may be read; None for all.
            trusted: whose own code may run, see `pruning_core.model_code`.
            allow_pickle: whether pickled weights may be read.

        Raises:
            RecipeError: the first thing found wrong, see `pruning_core.errors`.
        """
        require_agreement(recipe)
        subject = find_subject(
            recipe.model, recipe.remote_code, roots=roots, trusted=trusted, allow_pickle=allow_pickle
        )
        self.source: ModelSource = subject.source
        self.recipe = recipe.model_copy(update={"model": self.source.reference})
        self.family: Family = subject.family
        self.config: Config = subject.config
        self._require_method()
        self._require_streamable()
        if "gguf" in recipe.formats:
            require_gguf(self.source, self.config)
        require_calibration_tokens(recipe.calibration.samples, recipe.calibration.sequence_length)
        self.plan: Plan = plan(recipe, self.family, self.config)
        if self.recipe.ratio is None:
            share = 1 - self.plan.layers_after / self.plan.layers_before
            self.recipe = self.recipe.model_copy(update={"ratio": share, "ratio_of": "layers"})
        self.calibration: TextSource = find_text(
            "calibration.dataset", recipe.calibration.dataset, "calibration", roots
        )
        self.evaluation: TextSource = find_text(
            "evaluation.dataset", recipe.evaluation.dataset, "evaluation", roots
        )
        require_positions("calibration", recipe.calibration.sequence_length, self.config)
        require_positions("evaluation", recipe.evaluation.sequence_length, self.config)

    def check_texts(self) -> None:
        """Check that the texts answer and are long enough, and that the model's tokenizer can be had.

        The tokens are counted when the model has a `tokenizer.json`; otherwise only a text that must be too short,
        having fewer bytes than the tokens asked for, is refused here.

        Raises:
            UnreachableHubError: a Hub dataset does not answer.
            TextTooShortError: too few tokens for the windows asked for.
            UntrustedCodeError: the tokenizer is code that may not run.
            UnreadableModelError: there is no tokenizer.
        """
        require_tokenizer(self.source)
        calibration, evaluation = self.recipe.calibration, self.recipe.evaluation
        self._check_text("calibration", self.calibration, calibration.samples, calibration.sequence_length)
        self._check_text("evaluation", self.evaluation, evaluation.samples or 1, evaluation.sequence_length)

    def _require_method(self) -> None:
        own_code = self.source.own_code
        if not isinstance(self.recipe, OsscarRecipe) or own_code is None or not own_code.in_place:
            return
        if own_code.model.undescribed_experts:
            raise UnsupportedFamilyError(
                "method",
                self.recipe.method,
                f"the experts of {own_code.model.family.name} cannot be narrowed in place.",
                f"Leave remote_code out, and they are narrowed as {own_code.model.twin.model_type}'s; "
                "or ask for method depth.",
            )

    def _require_streamable(self) -> None:
        if self.recipe.weights != "streamed" or self.source.streamable:
            return
        if self.source.pickled:
            what = "has pickled weights"
        else:
            what = "is a GGUF file" if self.source.gguf_file else "has code of its own"
        raise ContradictoryOptionsError(
            "weights",
            self.recipe.weights,
            f"{self.recipe.model.id} {what}, and is loaded as a whole.",
            "Leave weights out, or name a checkpoint of a family of transformers with .safetensors files.",
        )

    def _check_text(self, field: str, text: TextSource, samples: int, sequence_length: int) -> None:
        text.check()
        if not text.local:
            return
        # One more than the bytes, for a token that marks the beginning of a text.
        most = count_bytes(text) + 1
        require_windows(field, samples, most, sequence_length, at_most=True)
        if self.source.tokenizer_file is None:
            return
        tokens = self._count_tokens(text, self.source.tokenizer_file, samples * sequence_length)
        require_windows(field, samples, tokens, sequence_length)

    def _count_tokens(self, text: TextSource, tokenizer_file: Path, enough: int) -> int:
        try:
            return count_tokens(text, FileVersion.of(tokenizer_file), enough)
        except RecipeError:
            raise
        except Exception as broken:  # the only class that the package raises
            raise UnreadableModelError(
                "model",
                self.recipe.model.id,
                f"its tokenizer.json cannot be read ({broken}).",
                "Repair it, or name another checkpoint.",
            ) from broken


def require_positions(field: str, sequence_length: int, config: Config) -> None:
    """Refuse windows that are longer than the model's positions.

    Raises:
        SequenceTooLongError: with how many positions there are.
    """
    positions = config["max_position_embeddings"]
    if sequence_length > positions:
        raise SequenceTooLongError(
            f"{field}.sequence_length",
            sequence_length,
            f"windows of {sequence_length} tokens do not fit the model's {positions} positions.",
            f"Use at most {positions}.",
        )
