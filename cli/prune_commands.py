"""`secateur prune | estimate | evaluate`: the library in this process, without any service."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.console import explaining_errors, out, print_json
from cli.display import change, live_progress
from cli.drawing import Drawing
from pruning_core import parse_recipe
from pruning_core.errors import RecipeError
from pruning_core.estimate import estimate as estimate_recipe
from pruning_core.preflight import Preflight
from pruning_core.recipe import EvaluationText, ModelReference
from pruning_core.subject import find_subject


@options.takes_request
def prune(
    body: dict[str, Any],
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint; new or empty.")],
    work_folder: Annotated[
        Path | None,
        typer.Option(
            help="Keep what is done in this folder, so that the same command goes on after an interruption; "
            "emptied at the end."
        ),
    ] = None,
    device: options.Device = "auto",
    trusted_code: options.TrustedCode = "",
    allow_pickle: options.AllowPickle = False,
    as_json: options.AsJson = False,
) -> None:
    """Prune a model in this process and write the checkpoint to a folder."""
    with explaining_errors():
        recipe, trusted = parse_recipe(body), options.trusted(trusted_code)
        if recipe.method == "depth" and recipe.options.parallelism > 1:
            raise RecipeError(
                "options.parallelism",
                recipe.options.parallelism,
                "this command prunes in one process, without the workers of a service.",
                "Leave it out; the answer is the same. Or use `secateur submit`.",
            )
        # Before torch is imported, so that what cannot work is said at once.
        Preflight(recipe, roots=None, trusted=trusted, allow_pickle=allow_pickle).check_texts()

        from pruning_core.pruning import forget_work
        from pruning_core.pruning import prune as prune_recipe
        from registry.card import write_card

        with live_progress(visible=not as_json) as bars:
            result = prune_recipe(
                recipe,
                output,
                trusted=trusted,
                allow_pickle=allow_pickle,
                device=device,
                work=work_folder,
                on_event=Drawing(bars, recipe.method),
            )
        write_card(output, result)
        if work_folder is not None:
            forget_work(work_folder)
    facts: dict[str, Any] = result.model_dump(mode="json")
    facts |= {"output": str(output)}
    if recipe.method == "osscar":
        facts |= {"intermediate_size": result.plan.intermediate_size_after}
    if as_json:
        print_json(facts)
        return
    out.print(
        f"PPL {change(result.perplexity_before, result.perplexity_after, '.4f')} "
        f"({result.evaluation.windows} windows of {result.evaluation.sequence_length}, {result.dtype}), "
        f"parameters {change(result.parameters_before, result.parameters_after, ',')}, {result.seconds:.0f} s. "
        f"Checkpoint: {output}",
        soft_wrap=True,
    )


def estimate(
    model: options.Model,
    method: Annotated[options.Method, typer.Option(help="What to cut: channels or layers.")],
    ratio: Annotated[float | None, typer.Option(help="Share to remove, between 0 and 1.")] = None,
    layers: Annotated[int | None, typer.Option(help="depth: how many layers, instead of a ratio.")] = None,
    ratio_of: options.RatioOf = None,
    revision: options.Revision = None,
    samples: options.Samples = 128,
    sequence_length: options.SequenceLength = 2048,
    width_multiple: options.WidthMultiple = None,
    dtype: options.Dtype = "auto",
    device_memory: options.DeviceMemory = None,
    host_memory: options.HostMemory = None,
    weights: options.Weights = "auto",
    gguf: options.Gguf = False,
    as_json: options.AsJson = False,
) -> None:
    """Say what a job would cut and take, from the model's config alone."""
    if (ratio is None) == (layers is None) or (layers is not None and method is not options.Method.DEPTH):
        raise typer.BadParameter("give --ratio, or with --method depth --layers instead")
    with explaining_errors():
        if layers is not None:
            reference = ModelReference(id=options.absolute(model), revision=revision)
            subject = find_subject(reference, "native", roots=None, allow_pickle=True)
            ratio = layers / subject.config[subject.family.depth_field]
        assert ratio is not None  # noqa: S101  one of the two was given
        body = options.request(
            model=model,
            method=method,
            ratio=ratio,
            ratio_of=ratio_of,
            revision=revision,
            calibration="builtin",
            samples=samples,
            sequence_length=sequence_length,
            evaluation="builtin",
            evaluation_sequence_length=sequence_length,
            width_multiple=width_multiple,
            dtype=dtype,
            device_memory=device_memory,
            host_memory=host_memory,
            weights=weights,
            gguf=gguf,
        )
        # No weights are read.
        ready = Preflight(parse_recipe(body), roots=None, allow_pickle=True)
        result = estimate_recipe(ready).model_dump()
    if as_json:
        print_json(result)
        return
    for name, value in result.items():
        out.print(f"{name:<26} {_shown(name, value)}")


def _shown(name: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case {"weights": weights, "hidden_states": hidden_states, "solver": solver}:
            return f"weights {weights}, hidden states on {hidden_states}, solver on {solver}"
        case float() if name == "removed_share":
            return f"{value:.4%}"
        case int():
            return f"{value:,}"
    return str(value)


def evaluate(
    model: options.Model,
    text: Annotated[str, typer.Option(help="wikitext2, builtin, or a text file.")] = "wikitext2",
    sequence_length: Annotated[int, typer.Option(help="Tokens in a window.")] = 2048,
    samples: Annotated[int | None, typer.Option(help="Only the first windows; all by default.")] = None,
    revision: options.Revision = None,
    dtype: options.Dtype = "auto",
    remote_code: options.RemoteCode = options.CodeWay.NATIVE,
    device: options.Device = "auto",
    trusted_code: options.TrustedCode = "",
    allow_pickle: options.AllowPickle = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure a model's perplexity."""
    with explaining_errors():
        reference = ModelReference(id=options.absolute(model), revision=revision)
        asked = EvaluationText(
            dataset=options.absolute(text), sequence_length=sequence_length, samples=samples
        )

        from pruning_core.evaluation import evaluate as evaluate_model

        with live_progress(visible=not as_json) as bars:
            result = evaluate_model(
                reference,
                asked,
                dtype=dtype,
                device=device,
                remote_code="in_place" if remote_code is options.CodeWay.IN_PLACE else "native",
                trusted=options.trusted(trusted_code),
                allow_pickle=allow_pickle,
                on_event=Drawing(bars, "evaluate"),
            )
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    out.print(
        f"PPL {result.perplexity:.4f} ({result.text.windows} windows of {result.text.sequence_length}, "
        f"{result.dtype}), {result.seconds:.0f} s"
    )
