"""What counts as another checkpoint, and what only tells why it may be another."""

from typing import Any

import pytest

from registry.comparison import Comparison
from registry.manifest import ManifestFile
from registry.record import Record
from tests.registry.conftest import make_result

WEIGHTS = ManifestFile(path="model.safetensors", bytes=7, sha256="a" * 64)


def compared(*files: ManifestFile, **changes: Any) -> Comparison:
    record = Record(**dict(make_result()), files=[WEIGHTS])
    return Comparison.of(record, make_result(**changes), files)


def test_how_long_it_took_and_what_else_lies_there_do_not_count() -> None:
    extra = ManifestFile(path="manifest.json", bytes=1, sha256="b" * 64)
    same = compared(WEIGHTS, extra, seconds=1.0, peak_rss_bytes=1)
    assert same.reproduced
    assert same == Comparison(files=[], numbers=[], conditions=[])


@pytest.mark.parametrize("now", [None, "b" * 64])
def test_a_file_that_is_another_or_is_missing_counts(now: str | None) -> None:
    files = [] if now is None else [WEIGHTS.model_copy(update={"sha256": now})]
    differing = compared(*files)
    assert not differing.reproduced
    assert [each.model_dump() for each in differing.files] == [
        {"what": "model.safetensors", "recorded": "a" * 64, "now": now}
    ]


def test_a_number_that_is_another_in_its_last_digit_counts() -> None:
    differing = compared(WEIGHTS, perplexity_after=30.123490000000004)
    assert not differing.reproduced
    assert [(each.what, each.recorded) for each in differing.numbers] == [("perplexity_after", 30.12349)]


def test_other_versions_and_another_machine_are_told_and_do_not_count() -> None:
    machine = make_result().machine.model_dump() | {"threads": 2}
    elsewhere = compared(WEIGHTS, versions={"python": "3.11.7", "torch": "2.10.0"}, machine=machine)
    assert elsewhere.reproduced
    assert {each.what: (each.recorded, each.now) for each in elsewhere.conditions} == {
        "machine.threads": (1, 2),
        "versions.torch": ("2.9.0", "2.10.0"),
        "versions.transformers": ("5.23.0", None),
    }
