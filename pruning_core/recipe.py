"""A recipe: what to prune, how, and on which text. The part of a job that is science."""

import unicodedata
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, TypeAdapter, field_validator
from pydantic_core import PydanticCustomError

from pruning_core.budgets import Weights


class Strict(BaseModel):
    """A request object in which an unknown key is an error and a number is not a string."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


MAXIMUM_NAME_BYTES = 1024


def _require_plain_name(value: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise PydanticCustomError("control_character", "it holds a control character")
    if len(value.encode()) > MAXIMUM_NAME_BYTES:
        raise PydanticCustomError(
            "name_too_long", "it is longer than {max_bytes} bytes", {"max_bytes": MAXIMUM_NAME_BYTES}
        )
    return value


def _require_revision(value: str) -> str:
    # The Hub client looks for the revision's name as a path in its cache.
    if ".." in value:
        raise PydanticCustomError("not_a_revision", "git has no revisions with '..' in their names")
    return _require_plain_name(value)


Name = Annotated[str, Field(min_length=1), AfterValidator(_require_plain_name)]
Revision = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_require_revision)]


class ModelReference(Strict):
    """A Hub id with a revision, or the path of a folder or a GGUF file."""

    id: Name
    revision: Revision | None = Field(default=None, description="Branch, tag or commit")

    @property
    def name(self) -> str:
        """Its last part: `SmolLM2-135M` of `HuggingFaceTB/SmolLM2-135M`."""
        return self.id.rstrip("/").rsplit("/", 1)[-1]


class CalibrationText(Strict):
    """The text whose activations decide what goes."""

    dataset: Name = Field(
        default="wikitext2",
        description="`wikitext2` (from the Hub), `builtin` (Python's own documentation), or a text file",
    )
    samples: int = Field(default=128, ge=1, le=1_000_000, strict=True, description="Windows to draw")
    sequence_length: int = Field(
        default=2048, ge=16, le=10_000_000, strict=True, description="Tokens in a window"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, strict=True, description="Which windows are drawn")


class EvaluationText(Strict):
    """The text on which perplexity is measured, before and after."""

    dataset: Name = Field(
        default="wikitext2", description="As in `calibration`; the part that never calibrates"
    )
    sequence_length: int = Field(default=2048, ge=16, le=10_000_000, strict=True)
    samples: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        strict=True,
        description="The first windows of the text; all by default",
    )


class RepairOptions(Strict):
    """How the MLPs that stay are fitted to what they should give, without training."""

    refit_damping: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="λ of the refit, as a share of the mean diagonal of AᵀA; by default what does best, layer by "
        "layer, on held-out windows",
    )
    drift_correction: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="β: how far a layer also repairs what earlier layers lost",
    )
    vocabulary_share: float = Field(
        default=0.125,
        ge=0,
        le=4,
        description="Windows of random tokens that calibrate too, as a share of calibration.samples",
    )
    producer_steps: int = Field(
        default=2,
        ge=0,
        le=20,
        strict=True,
        description="Gauss-Newton steps that fit the gate and up projections; 0 leaves them",
    )
    attention_refit: bool = Field(
        default=False,
        strict=True,
        description="Refit the attention's output projection as well, β of the way to the dense hidden states",
    )

    def vocabulary_windows(self, samples: int) -> int:
        """How many windows of random tokens go with `samples` windows of text."""
        return round(self.vocabulary_share * samples)


class OsscarOptions(RepairOptions):
    """Options of width pruning (Meng et al., "OSSCAR", ICML 2024)."""

    damping: float = Field(
        default=0.001,
        gt=0,
        le=10,
        description="λ while channels are chosen, as a share of the mean diagonal of AᵀA",
    )
    width_multiple: int = Field(
        default=128, ge=1, le=4096, strict=True, description="The kept width is rounded to a multiple of this"
    )


class DepthOptions(RepairOptions):
    """Options of depth pruning."""

    layers: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = Field(
        default=None,
        min_length=1,
        description="The decoder layers to remove, counted from 0; nothing is searched, and `ratio` is left out",
    )
    selection: Literal["consecutive", "greedy"] = Field(
        default="consecutive",
        description="A run of consecutive layers, or one layer after the other, each the least missed (SLEB)",
    )
    score: Literal["perplexity", "block_influence"] = Field(
        default="perplexity",
        description="Perplexity without the layers, or how much they turn the hidden states (ShortGPT): quicker, "
        "worse, and of consecutive layers only",
    )
    search: Literal["race", "exhaustive"] = Field(
        default="race", description="Drop clearly worse candidates early, or run all on all search windows"
    )
    confidence: float = Field(
        default=0.99, gt=0.5, lt=1, description="That the race drops no candidate better than its leader"
    )
    search_samples: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        strict=True,
        description="Of the calibration windows, those that choose the layers; the others heal. By default an eighth, "
        "or all if nothing is healed",
    )
    parallelism: int = Field(
        default=1,
        ge=1,
        le=64,
        strict=True,
        description="Workers that may share the search by perplexity; what it finds is the same",
    )
    heal: Literal["none", "boundary", "all"] = Field(
        default="all",
        description="Refit the MLP before the cut, or that and every one behind it, towards the dense hidden states",
    )
    leaders: int = Field(
        default=3,
        ge=1,
        le=100,
        strict=True,
        description="Best candidates that are healed before one is chosen",
    )

    def search_windows(self, samples: int) -> int:
        """How many of `samples` windows choose the layers."""
        asked = self.search_samples or (samples if self.heal == "none" else max(1, samples // 8))
        return min(asked, samples)


Ratio = Annotated[
    float, Field(gt=0, lt=1, strict=True, description="Share to remove, strictly between 0 and 1")
]


RemoteCode = Literal["native", "in_place"]


Format = Literal["safetensors", "gguf"]


def _require_safetensors(formats: tuple[Format, ...]) -> tuple[Format, ...]:
    if "safetensors" not in formats:
        raise PydanticCustomError("no_safetensors", "safetensors are always written")
    return tuple(each for each in get_args(Format) if each in formats)


class MemoryBudget(Strict):
    """The most memory that a job may take, in bytes or as in `24GiB`; by default all that is free on the worker."""

    device: ByteSize | None = Field(default=None, gt=0, description="Of the device that prunes")
    host: ByteSize | None = Field(
        default=None, gt=0, description="Of the machine, beside a device that has memory of its own"
    )


class _CommonRecipe(Strict):
    model: ModelReference
    ratio: Ratio | None = None
    calibration: CalibrationText = CalibrationText()
    evaluation: EvaluationText = EvaluationText()
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Of weights and activations; `auto` is the checkpoint's own"
    )

    remote_code: RemoteCode = Field(
        default="native",
        description="For a model whose code is in its repository: convert it to the family of transformers that "
        "computes the same, or run that code, where the operator trusts it, and keep it",
    )

    memory_budget: MemoryBudget = MemoryBudget()
    weights: Literal["auto", "resident", "streamed"] = Field(
        default="auto",
        description="Whether the decoder layers stay on the device, or each is read when it is its turn; by default "
        "they stay if they fit. The result is the same",
    )
    shard_size: ByteSize = Field(
        default=ByteSize(5 * 10**9),
        ge=10**5,
        description="Most bytes in a file of the pruned checkpoint, also as in `2GB`",
    )
    formats: Annotated[tuple[Format, ...], AfterValidator(_require_safetensors)] = Field(
        default=("safetensors",),
        description="`gguf` asks for a GGUF file of the same weights beside the safetensors, for llama.cpp; Llama and "
        "Qwen2",
    )

    @property
    def weights_asked(self) -> Weights | None:
        """Where the decoder layers must be; None for where they fit."""
        return None if self.weights == "auto" else self.weights

    @field_validator("model", mode="before", json_schema_input_type=Name | ModelReference)
    @classmethod
    def _accept_plain_id(cls, value: object) -> object:
        return {"id": value} if isinstance(value, str) else value


class OsscarRecipe(_CommonRecipe):
    method: Literal["osscar"]
    ratio: Ratio
    ratio_of: Literal["channels", "parameters"] = Field(
        default="channels", description="`ratio` is a share of each MLP's channels, or of all parameters"
    )
    options: OsscarOptions = OsscarOptions()


class DepthRecipe(_CommonRecipe):
    method: Literal["depth"]
    ratio: Ratio | None = Field(
        default=None,
        description="Required, unless `options.layers` says what to remove; then it follows from that",
    )
    ratio_of: Literal["layers", "parameters"] = Field(
        default="layers", description="`ratio` is a share of the decoder layers, or of all parameters"
    )
    options: DepthOptions = DepthOptions()


Recipe = OsscarRecipe | DepthRecipe


def title_of(recipe: Recipe) -> str:
    """What its result is called: `SmolLM2-135M, pruned by osscar`."""
    return f"{recipe.model.name}, pruned by {recipe.method}"


_recipes: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="method")])


def parse_recipe(data: object) -> Recipe:
    """Build the recipe of the method that `data["method"]` names.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or out of range.
    """
    return _recipes.validate_python(data)
