"""The options that several commands share, and the request they add up to."""

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
    float | None, typer.Option(help="osscar: λ as a share of the mean diagonal of AᵀA.", show_default="0.01")
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
    model: str,
    revision: str | None,
    method: Method,
    ratio: float,
    *,
    ratio_of: str | None,
    calibration: str,
    samples: int,
    sequence_length: int,
    seed: int,
    evaluation: str,
    evaluation_sequence_length: int,
    evaluation_samples: int | None,
    damping: float | None,
    width_multiple: int | None,
    dtype: str,
) -> dict[str, Any]:
    """Put the options together as the body of POST /jobs; what was not given is left out."""
    given = {"damping": damping, "width_multiple": width_multiple}
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


def absolute(name: str) -> str:
    """Turn the name of something that is here into its path; a Hub id or a dataset's name stays as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name
