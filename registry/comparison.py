"""A checkpoint's record held against another run of its request: what came out the same, and what did not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel

from pruning_core.result import PruneResult
from registry.manifest import ManifestFile
from registry.record import Record

CONDITIONS = frozenset(["versions", "machine", "device", "memory_plan"])
"""Fields of a result that say how it was computed. They may explain why another came out, and are none."""

LEFT_OUT = CONDITIONS | {"seconds", "peak_rss_bytes", "files"}


class Difference(BaseModel):
    """A fact that is not what was recorded; None where there is none of its kind."""

    what: str
    recorded: Any
    now: Any


class Comparison(BaseModel):
    """A checkpoint and another run of its request.

    Attributes:
        files: those that are not the same to the last bit.
        numbers: what was measured or chosen, where it is not the same to the last digit.
        conditions: versions, the machine, and where layers and hidden states were.
    """

    files: list[Difference]
    numbers: list[Difference]
    conditions: list[Difference]

    @classmethod
    def of(cls, record: Record, result: PruneResult, files: Iterable[ManifestFile]) -> Self:
        """Compare with a run that gave `result` and wrote `files`."""
        return cls(
            files=compare_files(record, files),
            numbers=_compare(
                record.model_dump(mode="json", exclude=set(LEFT_OUT)),
                result.model_dump(mode="json", exclude=set(LEFT_OUT)),
            ),
            conditions=_compare(
                record.model_dump(mode="json", include=set(CONDITIONS)),
                result.model_dump(mode="json", include=set(CONDITIONS)),
            ),
        )

    @property
    def reproduced(self) -> bool:
        """Whether the same came out, under whatever conditions."""
        return not self.files and not self.numbers


def compare_files(record: Record, files: Iterable[ManifestFile]) -> list[Difference]:
    """List the files of a record that are not, to the last bit, what was written; others do not count."""
    there = {file.path: file.sha256 for file in files}
    return [
        Difference(what=file.path, recorded=file.sha256, now=there.get(file.path))
        for file in record.files
        if there.get(file.path) != file.sha256
    ]


def _compare(recorded: Any, now: Any) -> list[Difference]:
    before, after = dict(_leaves(recorded)), dict(_leaves(now))
    return [
        Difference(what=what, recorded=before.get(what), now=after.get(what))
        for what in dict.fromkeys([*before, *after])
        if before.get(what) != after.get(what)
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values in a JSON value, by their paths."""
    if isinstance(value, Mapping):
        inner: Iterable[tuple[object, Any]] = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = enumerate(value)
    else:
        yield path, value
        return
    for name, each in inner:
        yield from _leaves(each, f"{path}.{name}" if path else str(name))
