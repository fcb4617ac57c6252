"""The options that several commands share, and the request they add up to."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pruning_core.model_code import TRUST_SETTING, parse_trusted
from pruning_core.weight_formats import PICKLE_SETTING

Model = Annotated[str, typer.Argument(help="A Hub id, a checkpoint's folder, or a GGUF file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Url = Annotated[
    str | None,
    typer.Option(envvar="SECATEUR_URL", help="The service's address; by default the one `secateur up` runs."),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", envvar="SECATEUR_DATA_DIR", help="The service's data folder.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")]
Ratio = Annotated[float | None, typer.Option(help="Share to remove, between 0 and 1.", show_default=False)]
RatioOf = Annotated[
    str | None,
    typer.Option(help="`parameters`: of the whole model; else of the channels (osscar) or layers (depth)."),
]
Calibration = Annotated[
    str, typer.Option(help="Text that decides what goes: wikitext2, builtin, or a text file.")
]
Samples = Annotated[int, typer.Option(help="Calibration windows.")]
SequenceLength = Annotated[int, typer.Option(help="Tokens in a calibration window.")]
Seed = Annotated[int, typer.Option(help="Which calibration windows are drawn.")]
Evaluation = Annotated[str, typer.Option(help="Text that perplexity is measured on.")]
EvaluationLength = Annotated[int, typer.Option(help="Tokens in an evaluation window.")]
EvaluationSamples = Annotated[
    int | None, typer.Option(help="Only the first evaluation windows; all by default.")
]
Damping = Annotated[
    float | None,
    typer.Option(
        help="osscar: λ while channels are chosen, as a share of the mean diagonal of AᵀA.",
        show_default="0.001",
    ),
]
RefitDamping = Annotated[
    float | None,
    typer.Option(help="λ of the refit, as such a share.", show_default="chosen on held-out windows"),
]
DriftCorrection = Annotated[
    float | None,
    typer.Option(help="How far a layer's refit repairs what earlier ones lost, 0 to 1.", show_default="0.5"),
]
VocabularyShare = Annotated[
    float | None,
    typer.Option(help="Windows of random tokens, as a share of --samples.", show_default="0.125"),
]
ProducerSteps = Annotated[
    int | None,
    typer.Option(
        help="Gauss-Newton steps that fit the gate and up projections; 0 leaves them.",
        show_default="2",
    ),
]
AttentionRefit = Annotated[
    bool | None,
    typer.Option("--attention-refit", help="Refit the attention's output projection as well."),
]
WidthMultiple = Annotated[
    int | None, typer.Option(help="osscar: round the kept width to this.", show_default="128")
]
RemoveLayers = Annotated[
    str | None,
    typer.Option(
        help="depth: the decoder layers to remove, as in 12,13,14, instead of a ratio and a search."
    ),
]
Selection = Annotated[
    str | None,
    typer.Option(
        help="depth: consecutive layers, or greedy, one after the other.", show_default="consecutive"
    ),
]
Score = Annotated[
    str | None,
    typer.Option(help="depth: perplexity, or block_influence, quicker and worse.", show_default="perplexity"),
]
Search = Annotated[
    str | None,
    typer.Option(help="depth: race drops the clearly worse early; or exhaustive.", show_default="race"),
]
Confidence = Annotated[
    float | None,
    typer.Option(help="depth: that the race drops none better than its leader.", show_default="0.99"),
]
SearchSamples = Annotated[
    int | None,
    typer.Option(
        help="depth: of the calibration windows, those that choose the layers.", show_default="an eighth"
    ),
]
Parallelism = Annotated[
    int | None,
    typer.Option(help="depth: workers of the service that share the search.", show_default="1"),
]
Heal = Annotated[
    str | None,
    typer.Option(help="depth: refit none, the boundary, or all behind it too.", show_default="all"),
]
Leaders = Annotated[
    int | None,
    typer.Option(help="depth: candidates that are healed before one is chosen.", show_default="3"),
]
Dtype = Annotated[str, typer.Option(help="auto (the checkpoint's), float32, bfloat16 or float16.")]
DeviceMemory = Annotated[
    str | None,
    typer.Option(help="The most of the device's memory, as in 22GiB.", show_default="all that is free"),
]
HostMemory = Annotated[
    str | None,
    typer.Option(help="The same of the machine's, beside a GPU.", show_default="all that is free"),
]
Weights = Annotated[
    str,
    typer.Option(help="resident: all decoder layers stay on the device; streamed: read one at a time; auto."),
]
ShardSize = Annotated[
    str | None, typer.Option(help="Most bytes in a file of the result, as in 2GB.", show_default="5GB")
]
Gguf = Annotated[
    bool,
    typer.Option("--gguf", help="Write a GGUF file for llama.cpp beside the safetensors (Llama, Qwen2)."),
]
TrustedCode = Annotated[
    str,
    typer.Option(
        "--trusted-code",
        envvar=TRUST_SETTING,
        help="Models whose own code may run, as owner/name@commit or /folder@digest, separated by commas.",
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        envvar=PICKLE_SETTING,
        help="Read weights from pickled files (pytorch_model.bin) as well.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]


class CodeWay(StrEnum):
    NATIVE = "native"
    IN_PLACE = "in_place"


RemoteCode = Annotated[
    CodeWay,
    typer.Option(
        help="A model with code of its own: native converts it, in_place runs its code and keeps it."
    ),
]


class Method(StrEnum):
    OSSCAR = "osscar"
    DEPTH = "depth"


def request(
    *,
    model: Model,
    method: Annotated[Method, typer.Option(help="What to cut: channels or layers.")],
    ratio: Ratio = None,
    ratio_of: RatioOf = None,
    revision: Revision = None,
    calibration: Calibration = "wikitext2",
    samples: Samples = 128,
    sequence_length: SequenceLength = 2048,
    seed: Seed = 0,
    evaluation: Evaluation = "wikitext2",
    evaluation_sequence_length: EvaluationLength = 2048,
    evaluation_samples: EvaluationSamples = None,
    damping: Damping = None,
    refit_damping: RefitDamping = None,
    drift_correction: DriftCorrection = None,
    vocabulary_share: VocabularyShare = None,
    producer_steps: ProducerSteps = None,
    attention_refit: AttentionRefit = None,
    width_multiple: WidthMultiple = None,
    remove_layers: RemoveLayers = None,
    selection: Selection = None,
    score: Score = None,
    search: Search = None,
    confidence: Confidence = None,
    search_samples: SearchSamples = None,
    parallelism: Parallelism = None,
    heal: Heal = None,
    leaders: Leaders = None,
    dtype: Dtype = "auto",
    device_memory: DeviceMemory = None,
    host_memory: HostMemory = None,
    weights: Weights = "auto",
    shard_size: ShardSize = None,
    gguf: Gguf = False,
    remote_code: RemoteCode = CodeWay.NATIVE,
) -> dict[str, Any]:
    """Put the options together as the body of POST /jobs; what was not given is left out."""
    given = {
        "damping": damping,
        "refit_damping": refit_damping,
        "drift_correction": drift_correction,
        "vocabulary_share": vocabulary_share,
        "producer_steps": producer_steps,
        "attention_refit": attention_refit,
        "width_multiple": width_multiple,
        "layers": None if remove_layers is None else _layers(remove_layers),
        "selection": selection,
        "score": score,
        "search": search,
        "confidence": confidence,
        "search_samples": search_samples,
        "parallelism": parallelism,
        "heal": heal,
        "leaders": leaders,
    }
    body: dict[str, Any] = {
        "model": {"id": absolute(model), "revision": revision},
        "method": method.value,
        "options": {name: value for name, value in given.items() if value is not None},
        "calibration": {
            "dataset": absolute(calibration),
            "samples": samples,
            "sequence_length": sequence_length,
            "seed": seed,
        },
        "evaluation": {
            "dataset": absolute(evaluation),
            "sequence_length": evaluation_sequence_length,
            "samples": evaluation_samples,
        },
        "dtype": dtype,
        "memory_budget": {"device": device_memory, "host": host_memory},
        "weights": weights,
        "remote_code": remote_code.value,
    }
    formats = ["safetensors", "gguf"] if gguf else None
    asked = {"ratio": ratio, "ratio_of": ratio_of, "shard_size": shard_size, "formats": formats}
    return body | {name: value for name, value in asked.items() if value is not None}


def _layers(text: str) -> list[int]:
    try:
        return [int(layer) for layer in text.split(",")]
    except ValueError as error:
        reason = f"{text!r} is not a list of layers, such as 12,13,14"
        raise typer.BadParameter(reason, param_hint="--remove-layers") from error


def trusted(text: str) -> tuple[str, ...]:
    """Read --trusted-code."""
    try:
        return parse_trusted(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--trusted-code") from error


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `request`, and the body they add up to as its first argument.

    Typer reads a command's options off its signature, so the signatures are put together.
    """
    shared = inspect.signature(request).parameters
    own = dict(list(inspect.signature(command).parameters.items())[1:])

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        body = request(**{name: given.pop(name) for name in shared})
        command(body, **given)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in [*shared.values(), *own.values()]
    ]
    # What has no default stands in front, as Python wants it.
    parameters.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions take any
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def absolute(name: str) -> str:
    """Turn the name of something that is here into its path; a Hub id or a dataset's name stays as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name
