"""Channels, layers and parameters of real models, exactly, from a folder with nothing but a config.json."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api, Change, problem_of
from tests.estimated_models import CONFIGS, ROWS, Row

SECONDS = 2


@pytest.fixture
def estimate(refusing_api: Api, texts: Path) -> Any:
    def ask(model: str, method: str, ratio: float, **more: Any) -> dict[str, Any]:
        folder = texts / model
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIGS[model]))
        body = {"model": str(folder), "method": method, "ratio": ratio, **more}
        with refusing_api.unchanged():
            response = refusing_api.client.post("/estimates", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return ask


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}-{row.method}")
def test_the_published_tables_come_out_exactly(row: Row, estimate: Any) -> None:
    began = time.process_time()
    answer = estimate(row.model, row.method, row.ratio)
    # Of this process alone: what else runs on the machine is not the estimate's.
    assert time.process_time() - began < SECONDS
    what, other = "intermediate_size", "layers"
    if row.method == "depth":
        what, other = other, what
    assert (answer[f"{what}_before"], answer[f"{what}_after"]) == (row.before, row.after)
    assert answer[f"{other}_before"] == answer[f"{other}_after"]
    assert answer["parameters_before"] == row.parameters
    assert round(100 * answer["removed_share"], 4) == row.percent
    removed = answer["parameters_before"] - answer["parameters_after"]
    assert answer["removed_share"] == removed / answer["parameters_before"]
    assert 0 < 2 * answer["result_bytes"] <= answer["disk_bytes"]
    assert answer["result_bytes"] < answer["peak_device_bytes"]


def test_bytes_follow_the_checkpoints_dtype_and_the_one_asked_for(estimate: Any, refusing_api: Api) -> None:
    answer = estimate("Llama-3-8B", "osscar", 0.1)
    assert answer["dtype"] == "bfloat16"
    assert answer["result_bytes"] == 2 * answer["parameters_after"]
    assert answer["peak_device_bytes"] > 2 * answer["parameters_before"]


@pytest.mark.parametrize("method", ["osscar", "depth"])
def test_a_70b_model_fits_a_card_of_24_gb(estimate: Any, method: str) -> None:
    budget = {"device": "24GB", "host": "256GB"}
    answer = estimate("Llama-2-70b", method, 0.1, dtype="bfloat16", memory_budget=budget)
    assert answer["memory_plan"] == {"weights": "streamed", "hidden_states": "host", "solver": "host"}


def test_bytes_follow_the_dtype_that_is_asked_for(estimate: Any) -> None:
    answer = estimate("Llama-3-8B", "osscar", 0.1, dtype="float32")
    assert (answer["dtype"], answer["result_bytes"]) == ("float32", 4 * answer["parameters_after"])


def test_what_a_job_would_be_refused_for_is_refused_here_too(refusing_api: Api, body: Change) -> None:
    for changes in ({"ratio": 2}, {"ratio": 0.99}, {"model": "/etc"}, {"surprise": 1}):
        of_job = refusing_api.refused(body(changes))
        response = refusing_api.client.post("/estimates", json=body(changes))
        assert problem_of(response, 422) == of_job
