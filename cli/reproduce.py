"""`secateur reproduce`: whether a checkpoint comes out again, bit for bit, when its request is run again."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from cli import options
from cli.console import EXIT_NOT_REPRODUCED, explaining_errors, out, print_json, refuse
from cli.display import live_progress
from cli.drawing import Drawing
from pruning_core.base_digests import digest_base
from pruning_core.errors import UnknownDeviceError
from pruning_core.model_code import Trusted
from pruning_core.preflight import Preflight
from pruning_core.text_source import digest_text
from registry.comparison import Comparison, Difference, compare_files
from registry.manifest import describe_files
from registry.record import RECORD_NAME, Record, RecordError

MOST_NUMBERS = 10
"""Every layer has some, and after the first that differs most do."""


def reproduce(
    folder: Annotated[Path, typer.Argument(help="A checkpoint that Secateur wrote.")],
    trusted_code: options.TrustedCode = "",
    allow_pickle: options.AllowPickle = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a checkpoint's request again, and check that the same files come out, bit for bit."""
    with explaining_errors():
        record = _read(folder)
        _require_undamaged(folder, record, as_json)
        trusted = options.trusted(trusted_code)
        ready = Preflight(record.recipe, roots=None, trusted=trusted, allow_pickle=allow_pickle)
        ready.check_texts()
        _require_same_model(record, ready)
        _require_same_texts(record, ready)
        comparison = _run_again(record, trusted, allow_pickle=allow_pickle, visible=not as_json)
    if as_json:
        print_json({"reproduced": comparison.reproduced, **comparison.model_dump()})
    else:
        for line in _report(record, comparison):
            out.print(line, markup=False, soft_wrap=True)
    if not comparison.reproduced:
        raise typer.Exit(EXIT_NOT_REPRODUCED)


def _read(folder: Path) -> Record:
    try:
        return Record.read(folder)
    except RecordError as error:
        refuse(str(error))


def _require_undamaged(folder: Path, record: Record, as_json: bool) -> None:
    """End the command where the answer is known without hours of work."""
    damage = compare_files(record, describe_files(folder))
    if not damage:
        return
    if as_json:
        print_json({"reproduced": False, "damaged": [each.model_dump() for each in damage]})
    else:
        for each in damage:
            out.print(_line("damaged", each), markup=False, soft_wrap=True)
        out.print(
            f"Not reproduced: {len(damage)} of {len(record.files)} files in {folder} are not what was written there. "
            "Nothing was run. Get the checkpoint again from where it was published.",
            markup=False,
            soft_wrap=True,
        )
    raise typer.Exit(EXIT_NOT_REPRODUCED)


def _require_same_model(record: Record, ready: Preflight) -> None:
    digests = digest_base(ready.source)
    changed = [name for name, digest in record.base_digests.items() if digests.get(name) != digest]
    if changed:
        refuse(
            f"model = {record.recipe.model.id!r}: it has changed since it was pruned: {', '.join(changed)}. Put the "
            f"files back whose SHA-256 is in base_digests of {RECORD_NAME}."
        )


def _require_same_texts(record: Record, ready: Preflight) -> None:
    for field, text, used in (
        ("calibration", ready.calibration, record.calibration),
        ("evaluation", ready.evaluation, record.evaluation),
    ):
        digest = digest_text(text.read())
        if digest != used.sha256:
            where = f"Use Python {record.versions['python']}" if used.dataset == "builtin" else "Put it back"
            refuse(
                f"{field}.dataset = {used.dataset!r}: this text has changed since: its SHA-256 was {used.sha256}, "
                f"and is {digest} now. {where}."
            )


def _run_again(record: Record, trusted: Trusted, *, allow_pickle: bool, visible: bool) -> Comparison:
    import torch

    from pruning_core.devices import find_device
    from pruning_core.pruning import prune

    try:
        find_device(record.device)
    except UnknownDeviceError:
        refuse(
            f"this checkpoint was pruned on {record.device} ({record.machine.gpu}), which this machine does not have. "
            "Reproduce it on a machine like that one."
        )
    # They decide in which order sums are added up.
    torch.set_num_threads(record.machine.threads)
    with TemporaryDirectory(prefix="secateur-") as folder, live_progress(visible=visible) as bars:
        output = Path(folder) / "checkpoint"
        result = prune(
            record.recipe,
            output,
            trusted=trusted,
            allow_pickle=allow_pickle,
            device=record.device,
            memory_budget=record.memory_budget,
            on_event=Drawing(bars, record.recipe.method),
        )
        return Comparison.of(record, result, describe_files(output))


def _report(record: Record, comparison: Comparison) -> Iterator[str]:
    yield from _section("versions and machine", comparison.conditions)
    differing = {each.what for each in comparison.files}
    for file in record.files:
        if file.path not in differing:
            yield f"{'the same':<9} {file.path}  {file.sha256}"
    for each in comparison.files:
        yield _line("differs", each)
    yield from _section("perplexity and all other numbers", comparison.numbers)
    total = len(record.files)
    if comparison.reproduced:
        yield f"Reproduced: {total} files, bit for bit."
        return
    yield f"Not reproduced: {len(differing)} of {total} files and {len(comparison.numbers)} numbers differ."
    if comparison.conditions:
        yield "It did not run as it did then; the same bits are promised for the same versions and machine only."


def _section(name: str, differences: Sequence[Difference]) -> Iterator[str]:
    if not differences:
        yield f"{'the same':<9} {name}"
    for each in differences[:MOST_NUMBERS]:
        yield _line("differs", each)
    if len(differences) > MOST_NUMBERS:
        yield f"{'differs':<9} … and {len(differences) - MOST_NUMBERS} more"


def _line(verdict: str, difference: Difference) -> str:
    recorded, now = ("none" if value is None else value for value in (difference.recorded, difference.now))
    return f"{verdict:<9} {difference.what}  {recorded} → {now}"
