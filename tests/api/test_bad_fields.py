"""Requests that are not well formed: each is refused by field, value, reason and way out, and nothing is queued."""

import pytest

from tests.api.conftest import Api, Change, Json

NAN, INFINITY = float("nan"), float("inf")
ABOVE_0_BELOW_1 = "Use a number above 0 and below 1."

KNOWN = (
    "model, ratio, calibration, evaluation, dtype, remote_code, memory_budget, weights, shard_size, formats, method, "
    "ratio_of, options, destination, deadline_seconds"
)

HUB: Json = {"kind": "hub", "repo_id": "team/model"}


def wrong(field: str, value: object, reason: str, remedy: str) -> Json:
    return {"field": field, "value": value, "reason": reason, "remedy": remedy}


def check(api: Api, request: Json, error: Json) -> None:
    problem = api.refused(request)
    assert problem["type"] == "/problems/invalid-request"
    assert problem["title"] == "The request is not valid"
    assert problem["detail"] == f"{error['field']}: {error['reason']} {error['remedy']}"
    assert problem["errors"] == [error]


@pytest.mark.parametrize(
    ("ratio", "reason"),
    [
        (0, "this is too small."),
        (-0.25, "this is too small."),
        (1, "this is too large."),
        (1.5, "this is too large."),
        ("0.25", "this is not a number."),
        (None, "this is not a number."),
        (True, "this is not a number."),
        ([0.25], "this is not a number."),
        (10**400, "this is not a number."),
    ],
)
def test_a_ratio_that_is_no_share_is_refused(
    ratio: object, reason: str, refusing_api: Api, body: Change
) -> None:
    check(refusing_api, body({"ratio": ratio}), wrong("ratio", ratio, reason, ABOVE_0_BELOW_1))


@pytest.mark.parametrize(("ratio", "word"), [(NAN, "NaN"), (INFINITY, "Infinity"), (-INFINITY, "-Infinity")])
def test_a_ratio_that_is_not_finite_is_refused_by_its_name(
    ratio: float, word: str, refusing_api: Api, body: Change
) -> None:
    # Python writes them as the literals NaN and Infinity, which many parsers of JSON take.
    error = wrong("ratio", word, "this is not a finite number.", ABOVE_0_BELOW_1)
    check(refusing_api, body({"ratio": ratio}), error)


def test_nan_as_an_option_is_refused(refusing_api: Api, body: Change) -> None:
    request = body({"options.damping": NAN})
    error = wrong("options.damping", "NaN", "this is not a finite number.", "Use a finite number.")
    check(refusing_api, request, error)


@pytest.mark.parametrize("method", ["magnitude", "OSSCAR", "", 3, ["osscar"]])
def test_an_unknown_method_is_refused(method: object, refusing_api: Api, body: Change) -> None:
    error = wrong("method", method, "there is no such method.", "Use one of 'osscar', 'depth'.")
    check(refusing_api, body({"method": method}), error)


@pytest.mark.parametrize(
    ("left_out", "remedy"),
    [("method", "Add it: 'osscar' or 'depth'."), ("model", "Add it."), ("ratio", "Add it.")],
)
def test_what_has_no_default_is_required(left_out: str, remedy: str, refusing_api: Api, body: Change) -> None:
    request = body()
    del request[left_out]
    check(refusing_api, request, wrong(left_out, None, "this field is required.", remedy))


@pytest.mark.parametrize(
    ("field", "known"),
    [
        (
            "ratios",
            KNOWN,
        ),
        # Words that also say where an error was.
        (
            "depth",
            KNOWN,
        ),
        (
            "body",
            KNOWN,
        ),
        (
            "options.dampin",
            "refit_damping, drift_correction, vocabulary_share, producer_steps, attention_refit, damping, "
            "width_multiple",
        ),
        ("calibration.windows", "dataset, samples, sequence_length, seed"),
        ("evaluation.seed", "dataset, sequence_length, samples"),
    ],
)
def test_an_unknown_key_is_refused_and_the_known_are_named(
    field: str, known: str, refusing_api: Api, body: Change
) -> None:
    remedy = f"Leave it out, or use one of: {known}."
    check(refusing_api, body({field: 3}), wrong(field, 3, "there is no such field.", remedy))


@pytest.mark.parametrize(
    ("destination", "known"),
    [({"kind": "local"}, "kind, name"), (HUB, "kind, repo_id, private, revision, overwrite")],
)
def test_an_unknown_key_of_a_destination_is_refused(
    destination: Json, known: str, refusing_api: Api, body: Change
) -> None:
    request = body({"destination": {**destination, "token": "hf_x"}})
    remedy = f"Leave it out, or use one of: {known}."
    check(refusing_api, request, wrong("destination.token", "hf_x", "there is no such field.", remedy))


def test_a_destination_without_its_kind_is_refused(refusing_api: Api, body: Change) -> None:
    error = wrong("destination.kind", None, "this field is required.", "Add it: 'local' or 'hub'.")
    check(refusing_api, body({"destination": {"repo_id": "team/model"}}), error)


@pytest.mark.parametrize(
    "name",
    ["model", "team/", "a/b/c", "../etc", ".blobs/x", "team/.x", "team/mo del", "é/b", "team/a--b", ""],
)
def test_what_cannot_be_the_name_of_a_model_is_refused(name: str, refusing_api: Api, body: Change) -> None:
    remedy = (
        "Write owner/name; each begins with a letter or a digit and has at most 96 letters, digits, '-', '_' and '.', "
        "without '--' and '..'."
    )
    error = wrong("destination.name", name, "this cannot be the name of a model in the registry.", remedy)
    check(refusing_api, body({"destination": {"kind": "local", "name": name}}), error)


def test_a_hub_destination_without_a_repository_is_refused(refusing_api: Api, body: Change) -> None:
    error = wrong("destination.repo_id", None, "this field is required.", "Add it.")
    check(refusing_api, body({"destination": {"kind": "hub"}}), error)


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "team/",
        "a/b/c",
        "team/mo del",
        "team/mo--del",
        "team/model.git",
        "../model",
        "",
        "t/" + "m" * 99,
    ],
)
def test_what_is_no_repository_is_refused(name: str, refusing_api: Api, body: Change) -> None:
    remedy = "Write owner/name, in letters, digits, '-', '_' and '.', and at most 96 characters."
    error = wrong("destination.repo_id", name, "this cannot be the name of a Hub repository.", remedy)
    check(refusing_api, body({"destination": {**HUB, "repo_id": name}}), error)


@pytest.mark.parametrize(
    "name", ["", "refs/pr/1", "a" * 40, "a//b", "a/", "-a", "a..b", "a.lock", "ä", "a b"]
)
def test_what_is_no_branch_is_refused(name: str, refusing_api: Api, body: Change) -> None:
    remedy = (
        "Name a branch in letters, digits, '-', '_', '.' and '/', such as main; not a commit, and no refs/…."
    )
    error = wrong("destination.revision", name, "this cannot be the name of a branch.", remedy)
    check(refusing_api, body({"destination": {**HUB, "revision": name}}), error)


def test_an_unknown_key_beside_the_models_id_is_refused(refusing_api: Api, body: Change) -> None:
    request = body({"model": {"id": "a/b", "commit": "abc"}})
    remedy = "Leave it out, or use one of: id, revision."
    check(refusing_api, request, wrong("model.commit", "abc", "there is no such field.", remedy))


def test_an_option_of_the_other_method_is_refused(refusing_api: Api, body: Change) -> None:
    request = body({"method": "depth", "options.width_multiple": 64})
    known = (
        "refit_damping, drift_correction, vocabulary_share, producer_steps, attention_refit, layers, selection, "
        "score, search, confidence, search_samples, parallelism, heal, leaders"
    )
    remedy = f"Leave it out, or use one of: {known}."
    check(refusing_api, request, wrong("options.width_multiple", 64, "there is no such field.", remedy))


@pytest.mark.parametrize(
    "error",
    [
        wrong("calibration.samples", 0, "this is too small.", "Use 1 or more."),
        wrong("calibration.samples", 1_000_001, "this is too large.", "Use 1000000 or less."),
        wrong(
            "calibration.samples",
            2.5,
            "this is not a whole number.",
            "Use a whole number, without quotation marks.",
        ),
        wrong("calibration.seed", -1, "this is too small.", "Use 0 or more."),
        wrong("calibration.seed", 2**32, "this is too large.", "Use a number below 4294967296."),
        wrong("evaluation.sequence_length", 15, "this is too small.", "Use 16 or more."),
        wrong(
            "evaluation.sequence_length",
            "64",
            "this is not a whole number.",
            "Use a whole number, without quotation marks.",
        ),
        wrong("options.damping", 0, "this is too small.", "Use a number above 0."),
        wrong("dtype", "int8", "there is no such dtype.", "Use 'auto', 'float32', 'bfloat16' or 'float16'."),
        wrong("ratio_of", "layers", "there is no such ratio_of.", "Use 'channels' or 'parameters'."),
        wrong("destination.kind", "s3", "there is no such kind.", "Use one of 'local', 'hub'."),
        wrong(
            "destination",
            "local",
            "this is not a JSON object.",
            "Use an object, {…}, with the fields that /docs shows.",
        ),
        wrong(
            "calibration",
            None,
            "this is not a JSON object.",
            "Use an object, {…}, with the fields that /docs shows.",
        ),
        wrong(
            "model",
            7,
            "this is neither a string nor an object.",
            "Use a Hub id or a path, or an object with `id` and `revision`.",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(error: Json, refusing_api: Api, body: Change) -> None:
    check(refusing_api, body({error["field"]: error["value"]}), error)


@pytest.mark.parametrize("field", ["model.id", "model.revision", "calibration.dataset", "evaluation.dataset"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "this is empty."),
        ("a\x00b", "this holds a control character."),
        ("a\nb", "this holds a control character."),
        ("a\x9fb", "this holds a control character."),
        ("a\ud800b", "this holds half of a surrogate pair, which is no character."),
        ("é" * 513, "this is longer than"),
    ],
)
def test_a_name_that_no_database_or_log_can_hold_is_refused(
    field: str, name: str, reason: str, refusing_api: Api, body: Change
) -> None:
    request = body({"model": {"id": "owner/name", "revision": "main"}} | {field: name})
    (error,) = refusing_api.refused(request)["errors"]
    assert (error["field"], error["value"]) == (field, name)
    assert error["reason"].startswith(reason)


def test_a_revision_that_climbs_out_of_the_cache_is_refused(refusing_api: Api, body: Change) -> None:
    request = body({"model": {"id": "owner/name", "revision": "../../x"}})
    reason, remedy = "git has no revisions with '..' in their names.", "Name a branch, tag or commit."
    check(refusing_api, request, wrong("model.revision", "../../x", reason, remedy))


def test_everything_that_is_wrong_is_said_at_once(refusing_api: Api, body: Change) -> None:
    problem = refusing_api.refused(body({"ratio": 2, "calibration.samples": 0, "surprise": 1}))
    assert [error["field"] for error in problem["errors"]] == ["ratio", "calibration.samples", "surprise"]
    assert all(error["field"] in problem["detail"] for error in problem["errors"])


def test_a_format_that_nobody_writes_is_refused_and_the_known_are_named(
    refusing_api: Api, body: Change
) -> None:
    request = body({"formats": ["safetensors", "onnx"]})
    remedy = "Use 'safetensors' or 'gguf'."
    check(refusing_api, request, wrong("formats.1", "onnx", "there is no such format.", remedy))


@pytest.mark.parametrize("formats", [["gguf"], []])
def test_a_checkpoint_without_safetensors_is_refused(
    formats: list[str], refusing_api: Api, body: Change
) -> None:
    reason = "safetensors are always written, and other formats beside them."
    check(
        refusing_api,
        body({"formats": formats}),
        wrong("formats", formats, reason, "Add safetensors to the list."),
    )
