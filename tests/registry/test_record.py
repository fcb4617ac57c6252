"""`secateur.json` holds all of a result and the digests of what was written, and is read back as it was."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from pruning_core.result import PruneResult
from registry.card import write_card
from registry.record import Record, RecordError
from tests.registry.conftest import make_result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_card(tmp_path, make_result())
    return tmp_path


def test_it_is_read_back_as_it_was(folder: Path) -> None:
    result = make_result()
    record = Record.read(folder)
    assert record == Record(**dict(result), files=record.files)
    assert PruneResult.model_validate(json.loads((folder / "secateur.json").read_text())) == result


def test_it_has_the_digests_of_what_was_written_but_of_itself_and_the_card(folder: Path) -> None:
    (file,) = Record.read(folder).files
    assert (file.path, file.bytes, file.sha256) == (
        "model.safetensors",
        7,
        hashlib.sha256(b"weights").hexdigest(),
    )


def test_a_folder_without_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"has no secateur\.json\. Name the folder"):
        Record.read(tmp_path)
    with pytest.raises(RecordError, match=r"has no secateur\.json"):
        Record.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (r"\A\{", "", "Invalid JSON"),
        (r"\Z", "x", "Invalid JSON"),
        (r'"seed": 7', '"seed": "seven"', "recipe.osscar.calibration.seed: "),
        (r'"method": "osscar"', '"method": "magic"', "recipe: "),
        (r'"perplexity_after"', '"perplexity_later"', "perplexity_after: Field required"),
    ],
)
def test_a_broken_one_is_said_with_what_is_broken(folder: Path, before: str, after: str, said: str) -> None:
    path = folder / "secateur.json"
    whole = path.read_text()
    path.write_text(re.sub(before, after, whole, count=1))
    assert path.read_text() != whole
    with pytest.raises(RecordError, match=re.escape(f"{path} is broken: ")) as refused:
        Record.read(folder)
    assert said in str(refused.value)


def test_what_is_no_text_is_broken(folder: Path) -> None:
    (folder / "secateur.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="is broken"):
        Record.read(folder)
