"""What can be wrong with a request, one class each.

Every error names the field, the value and the way out, so that the command line and the API can say the same
sentence. None of these needs a model in memory: they are raised before anything expensive starts.
"""

from typing import ClassVar


class RecipeError(ValueError):
    """A recipe that cannot be carried out as asked.

    Attributes:
        field: dotted path of the offending field, as in `calibration.samples`.
        value: what was given there.
        reason: what is wrong with it.
        remedy: what to send instead.
    """

    slug: ClassVar[str] = "invalid-recipe"
    title: ClassVar[str] = "The recipe cannot be carried out"

    def __init__(self, field: str, value: object, reason: str, remedy: str) -> None:
        super().__init__(f"{field} = {value!r}: {reason} {remedy}")
        self.field = field
        self.value = value
        self.reason = reason
        self.remedy = remedy


class UnknownModelError(RecipeError):
    slug = "unknown-model"
    title = "The model cannot be found"


class UnreadableModelError(UnknownModelError):
    slug = "unreadable-model"
    title = "The model's files cannot be read"


class PickledWeightsError(UnreadableModelError):
    slug = "pickled-weights"
    title = "The model's weights are pickled"


class UnreachableHubError(RecipeError):
    slug = "hub-unreachable"
    title = "The Hugging Face Hub cannot be reached"


class PathNotAllowedError(RecipeError):
    slug = "path-not-allowed"
    title = "The path is outside the folders that jobs may read"


class UnusablePathError(RecipeError):
    slug = "unusable-path"
    title = "The path cannot be followed"


class NotCausalLanguageModelError(RecipeError):
    slug = "not-a-causal-language-model"
    title = "The model is not a causal language model"


class UnsupportedFamilyError(RecipeError):
    slug = "unsupported-family"
    title = "The model family is not supported"


class UnsupportedFormatError(RecipeError):
    slug = "unsupported-format"
    title = "The model cannot be written in this format"


class UntrustedCodeError(RecipeError):
    slug = "untrusted-code"
    title = "The model's own code may not be run"


class NoRemoteCodeError(RecipeError):
    slug = "no-remote-code"
    title = "The model has no code of its own to run"


class CutTooSmallError(RecipeError):
    slug = "cut-too-small"
    title = "The cut would remove nothing"


class CutTooLargeError(RecipeError):
    slug = "cut-too-large"
    title = "The cut would leave too little"


class UnclearCutError(RecipeError):
    slug = "unclear-cut"
    title = "The request does not say once how much to cut"


class ContradictoryOptionsError(RecipeError):
    slug = "contradictory-options"
    title = "Two options contradict each other"


class UnusableLayersError(RecipeError):
    slug = "unusable-layers"
    title = "These decoder layers cannot be removed"


class UnknownDatasetError(RecipeError):
    slug = "unknown-dataset"
    title = "The text cannot be found"


class TextTooShortError(RecipeError):
    slug = "text-too-short"
    title = "The text is too short for the windows asked for"


class TooFewTokensError(RecipeError):
    slug = "too-few-calibration-tokens"
    title = "The calibration text is too small to choose by"


class SequenceTooLongError(RecipeError):
    slug = "sequence-too-long"
    title = "The windows are longer than the model's positions"


class UnknownDeviceError(RecipeError):
    slug = "unknown-device"
    title = "The device is not available"


class NotEnoughMemoryError(RecipeError):
    slug = "not-enough-memory"
    title = "The job does not fit the device's memory"


class OutputExistsError(RecipeError):
    slug = "output-exists"
    title = "The output folder is already there"


class OtherConditionsError(RuntimeError):
    """This process would not compute, to the last bit, what the one that asks for it would."""


class BrokenModelError(RuntimeError):
    """The model's weights or activations are not finite, so nothing can be measured or solved."""


class DiskFullError(OSError):
    """There is no room for a file of the result, or of the work on it; the message says which and how large."""

    def __str__(self) -> str:
        """The message, without the system's number."""
        return str(self.strerror)
