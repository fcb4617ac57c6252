"""The options that several commands share, and the request they add up to."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

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
Ratio = Annotated[float, typer.Option(help="Share to remove, between 0 and 1.")]
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
    float | None, typer.Option(help="osscar: λ as a share of the mean diagonal of AᵀA.", show_default="0.001")
]
RefitDamping = Annotated[
    float | None,
    typer.Option(help="osscar: the same for the refit.", show_default="chosen on held-out windows"),
]
DriftCorrection = Annotated[
    float | None,
    typer.Option(
        help="osscar: how far the refit repairs what earlier layers lost, 0 to 1.", show_default="0.5"
    ),
]
VocabularyShare = Annotated[
    float | None,
    typer.Option(help="osscar: windows of random tokens, as a share of --samples.", show_default="0.125"),
]
ProducerSteps = Annotated[
    int | None,
    typer.Option(
        help="osscar: Gauss-Newton steps that fit the gate and up projections; 0 leaves them.",
        show_default="2",
    ),
]
WidthMultiple = Annotated[
    int | None, typer.Option(help="osscar: round the kept width to this.", show_default="128")
]
Dtype = Annotated[str, typer.Option(help="auto (the checkpoint's), float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]


class Method(StrEnum):
    OSSCAR = "osscar"
    DEPTH = "depth"


def request(
    *,
    model: Model,
    method: Annotated[Method, typer.Option(help="What to cut: channels or layers.")],
    ratio: Ratio,
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
    width_multiple: WidthMultiple = None,
    dtype: Dtype = "auto",
) -> dict[str, Any]:
    """Put the options together as the body of POST /jobs; what was not given is left out."""
    given = {
        "damping": damping,
        "refit_damping": refit_damping,
        "drift_correction": drift_correction,
        "vocabulary_share": vocabulary_share,
        "producer_steps": producer_steps,
        "width_multiple": width_multiple,
    }
    body: dict[str, Any] = {
        "model": {"id": absolute(model), "revision": revision},
        "method": method.value,
        "ratio": ratio,
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
    }
    return body if ratio_of is None else {**body, "ratio_of": ratio_of}


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
