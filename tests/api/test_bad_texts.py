"""Texts that cannot be read or do not fill the windows asked for, whichever part of the request names them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api, Change

both_parts = pytest.mark.parametrize("part", ["calibration", "evaluation"])


def only_error(problem: dict[str, Any], kind: str) -> dict[str, Any]:
    assert problem["type"] == f"/problems/{kind}"
    (error,) = problem["errors"]
    return error  # type: ignore[no-any-return]  # from JSON


@both_parts
def test_a_text_with_fewer_bytes_than_tokens_asked_for_is_refused(
    part: str, refusing_api: Api, body: Change, texts: Path
) -> None:
    (texts / "short.txt").write_text("short text " * 10)
    request = body({f"{part}.dataset": f"{texts}/short.txt", f"{part}.samples": 3})
    error = only_error(refusing_api.refused(request), "text-too-short")
    assert (error["field"], error["value"]) == (f"{part}.samples", 3)
    assert error["reason"] == "the text has at most 111 tokens, enough for 1 window of 64."
    assert error["remedy"].startswith(
        "Ask for fewer samples, for a shorter sequence_length, or give a longer text"
    )


@both_parts
def test_a_text_with_too_few_tokens_is_refused_when_the_tokenizer_can_count(
    part: str, refusing_api: Api, body: Change, texts: Path
) -> None:
    (texts / "the.txt").write_text("the " * 150)
    request = body({f"{part}.dataset": f"{texts}/the.txt", f"{part}.samples": 4})
    error = only_error(refusing_api.refused(request), "text-too-short")
    assert error["field"] == f"{part}.samples"
    assert error["reason"] == "the text has 151 tokens, enough for 2 windows of 64."
    assert refusing_api.submit(request | {part: request[part] | {"samples": 2}}).status_code == 201


def test_an_evaluation_of_the_whole_text_must_fill_a_window(
    refusing_api: Api, body: Change, texts: Path
) -> None:
    (texts / "short.txt").write_text("short")
    request = body({"evaluation.dataset": f"{texts}/short.txt"})
    del request["evaluation"]["samples"]
    error = only_error(refusing_api.refused(request), "text-too-short")
    assert (error["field"], error["value"]) == ("evaluation.sequence_length", 64)


def test_a_tokenizer_that_cuts_its_inputs_is_counted_without_the_cut(
    refusing_api: Api, body: Change, tiny_llama: Path, models: Path, tmp_path: Path
) -> None:
    folder = models / tmp_path.name
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_llama / "config.json").read_bytes())
    tokenizer = json.loads((tiny_llama / "tokenizer.json").read_text())
    tokenizer["truncation"] = {
        "direction": "Right",
        "max_length": 16,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert refusing_api.submit(body({"model": str(folder)})).status_code == 201


def test_a_long_text_whose_beginning_says_little_is_counted_whole(
    refusing_api: Api, body: Change, texts: Path
) -> None:
    # One token for eight characters and more at first, one for each afterwards.
    (texts / "dense.txt").write_text("documentation" * 400 + "qzxj" * 1000)
    request = body({"calibration.dataset": f"{texts}/dense.txt", "calibration.samples": 40})
    assert refusing_api.submit(request).status_code == 201


@both_parts
def test_a_text_that_was_changed_is_counted_anew(
    part: str, refusing_api: Api, body: Change, texts: Path
) -> None:
    text = texts / "changing.txt"
    text.write_text("the " * 300)
    request = body({f"{part}.dataset": str(text), f"{part}.samples": 4})
    assert refusing_api.submit(request).status_code == 201
    text.write_text("the " * 150)
    assert "151 tokens" in only_error(refusing_api.refused(request), "text-too-short")["reason"]


@both_parts
@pytest.mark.parametrize("name", ["missing.txt", "", "x" * 300 + ".txt"])
def test_a_file_that_is_not_there_is_refused(
    name: str, part: str, refusing_api: Api, body: Change, texts: Path
) -> None:
    error = only_error(refusing_api.refused(body({f"{part}.dataset": f"{texts}/{name}"})), "unknown-dataset")
    assert (error["field"], error["reason"]) == (f"{part}.dataset", "there is no such file.")


@both_parts
def test_a_file_that_is_no_text_is_refused(part: str, refusing_api: Api, body: Change, texts: Path) -> None:
    (texts / "noise.txt").write_bytes(b"\xff\xfe" * 1000)
    error = only_error(
        refusing_api.refused(body({f"{part}.dataset": f"{texts}/noise.txt"})), "unknown-dataset"
    )
    assert error["field"] == f"{part}.dataset"
    assert "UTF-8" in error["reason"]


@both_parts
def test_an_unknown_dataset_is_refused_and_the_known_are_named(
    part: str, refusing_api: Api, body: Change
) -> None:
    error = only_error(refusing_api.refused(body({f"{part}.dataset": "c4"})), "unknown-dataset")
    assert (error["field"], error["value"]) == (f"{part}.dataset", "c4")
    assert "wikitext2, builtin, or the path of a text file" in error["remedy"]


@both_parts
def test_a_hub_text_without_a_hub_is_refused_with_what_to_use_instead(
    part: str, refusing_api: Api, body: Change
) -> None:
    error = only_error(refusing_api.refused(body({f"{part}.dataset": "wikitext2"})), "hub-unreachable")
    assert (error["field"], error["value"]) == (f"{part}.dataset", "wikitext2")
    assert "`builtin`" in error["remedy"]


@both_parts
def test_windows_longer_than_the_models_positions_are_refused(
    part: str, refusing_api: Api, body: Change
) -> None:
    error = only_error(refusing_api.refused(body({f"{part}.sequence_length": 129})), "sequence-too-long")
    assert (error["field"], error["value"]) == (f"{part}.sequence_length", 129)
    assert error["remedy"] == "Use at most 128."
    assert refusing_api.submit(body({f"{part}.sequence_length": 128})).status_code == 201
