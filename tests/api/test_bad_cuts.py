"""Cuts that would take nothing or too much; what the answer proposes instead is accepted."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api, Change, Json
from tests.api.test_bad_models import LLAMA, write


def proposed(problem: dict[str, Any], words: str) -> float:
    (error,) = problem["errors"]
    found = re.search(rf"Ask for {words} (0\.\d+) of the (\w+)", error["remedy"])
    assert found, error["remedy"]
    return float(found[1])


@pytest.mark.parametrize("ratio_of", ["channels", "parameters"])
@pytest.mark.parametrize("multiple", [128, 100, 16])
def test_a_cut_that_removes_nothing_says_from_where_on_it_would(
    ratio_of: str, multiple: int, refusing_api: Api, body: Change
) -> None:
    cut = {"ratio_of": ratio_of, "options.width_multiple": multiple}
    problem = refusing_api.refused(body(cut | {"ratio": 1e-4}))
    assert problem["type"] == "/problems/cut-too-small"
    assert problem["title"] == "The cut would remove nothing"
    assert problem["errors"][0]["field"] == "ratio"
    assert "all 256 channels would stay" in problem["errors"][0]["reason"]
    least = proposed(problem, "at least")
    refusing_api.refused(body(cut | {"ratio": least - 1.1e-4}))
    assert refusing_api.submit(body(cut | {"ratio": least})).status_code == 201


@pytest.mark.parametrize("ratio_of", ["channels", "parameters"])
@pytest.mark.parametrize("multiple", [128, 100, 16])
def test_a_cut_that_leaves_fewer_than_128_channels_says_how_far_one_may_go(
    ratio_of: str, multiple: int, refusing_api: Api, body: Change
) -> None:
    cut = {"ratio_of": ratio_of, "options.width_multiple": multiple}
    problem = refusing_api.refused(body(cut | {"ratio": 0.99}))
    assert problem["type"] == "/problems/cut-too-large"
    assert "at least 128 must" in problem["errors"][0]["reason"]
    most = proposed(problem, "at most")
    refusing_api.refused(body(cut | {"ratio": most + 0.01}))
    assert refusing_api.submit(body(cut | {"ratio": most})).status_code == 201


@pytest.mark.parametrize("ratio_of", ["layers", "parameters"])
def test_a_cut_that_leaves_no_layer_says_how_far_one_may_go(
    ratio_of: str, refusing_api: Api, body: Change
) -> None:
    cut = {"method": "depth", "ratio_of": ratio_of}
    problem = refusing_api.refused(body(cut | {"ratio": 0.99}))
    assert problem["type"] == "/problems/cut-too-large"
    assert problem["errors"][0]["reason"] == "4 of 4 decoder layers would go, and at least one must stay."
    most = proposed(problem, "at most")
    refusing_api.refused(body(cut | {"ratio": most + 0.001}))
    assert refusing_api.submit(body(cut | {"ratio": most})).status_code == 201


@pytest.mark.parametrize(
    ("layers", "reason", "remedy"),
    [
        ([1, 4], "the model has no layer 4.", "Its 4 decoder layers are 0 to 3."),
        ([2, 1, 2], "layer 2 is named more than once.", "Name each layer once."),
        ([3, 1, 0, 2], "these are all 4 decoder layers, and at least one must stay.", "Name fewer layers."),
    ],
)
def test_layers_that_cannot_be_removed_say_which(
    layers: list[int], reason: str, remedy: str, refusing_api: Api, body: Change
) -> None:
    problem = refusing_api.refused(named(body, layers))
    assert problem["type"] == "/problems/unusable-layers"
    (error,) = problem["errors"]
    assert error == {"field": "options.layers", "value": layers, "reason": reason, "remedy": remedy}


def named(body: Change, layers: list[int]) -> Json:
    request = body({"method": "depth", "options.layers": layers})
    del request["ratio"]
    return request


def test_named_layers_say_the_ratio(api: Api, body: Change) -> None:
    job = api.submit(named(body, [1])).json()
    assert (job["request"]["ratio"], job["request"]["options"]["layers"]) == (0.25, [1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "this field is required."),
        (
            {"ratio": 0.5, "options.layers": [1]},
            "of the layers this is 2 decoder layers, and options.layers names 1.",
        ),
    ],
)
def test_a_depth_cut_is_said_once(changes: Json, reason: str, refusing_api: Api, body: Change) -> None:
    request = body({"method": "depth"} | changes)
    if not changes:
        del request["ratio"]
    problem = refusing_api.refused(request)
    assert problem["type"] == "/problems/unclear-cut"
    assert problem["errors"][0]["reason"] == reason


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    folder = models / tmp_path.name
    folder.mkdir()
    return folder


@pytest.mark.parametrize("ratio", [0.1, 0.9])
def test_an_mlp_with_no_channel_to_spare_is_said_to_have_none(
    ratio: float, refusing_api: Api, body: Change, folder: Path
) -> None:
    changes = write(folder, LLAMA | {"intermediate_size": 128})
    (error,) = refusing_api.refused(body(changes | {"ratio": ratio}))["errors"]
    assert error["remedy"].startswith("No ratio helps here")


def test_a_model_with_no_layer_to_spare_is_said_to_have_none(
    refusing_api: Api, body: Change, folder: Path
) -> None:
    changes = write(folder, LLAMA | {"num_hidden_layers": 1})
    (error,) = refusing_api.refused(body(changes | {"method": "depth", "ratio": 0.1}))["errors"]
    assert error["remedy"].startswith("A model of one layer has none to spare")


def test_block_influence_knows_nothing_of_a_greedy_selection(refusing_api: Api, body: Change) -> None:
    asked = {"method": "depth", "options": {"selection": "greedy", "score": "block_influence"}}
    problem = refusing_api.refused(body(asked))
    assert problem["type"] == "/problems/contradictory-options"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("options.selection", "greedy")
    assert "options.score" in error["reason"]
    for agreeing in ({"selection": "greedy"}, {"score": "block_influence"}):
        assert refusing_api.submit(body(asked | {"options": agreeing})).status_code == 201


@pytest.mark.parametrize(
    ("options", "other"),
    [({"layers": [1, 2]}, "options.layers"), ({"score": "block_influence"}, "options.score")],
)
def test_parallelism_without_a_search_to_share_is_refused(
    options: Json, other: str, refusing_api: Api, body: Change
) -> None:
    asked = {"method": "depth", "options": options | {"parallelism": 2}}
    problem = refusing_api.refused(body(asked))
    assert problem["type"] == "/problems/contradictory-options"
    (error,) = problem["errors"]
    assert (error["field"], error["value"]) == ("options.parallelism", 2)
    assert other in error["reason"]
    for agreeing in (options | {"parallelism": 1}, {"parallelism": 2}):
        assert refusing_api.submit(body(asked | {"options": agreeing})).status_code == 201
