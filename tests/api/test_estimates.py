"""Channels, layers and parameters of real models, exactly, from a folder with nothing but a config.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api, Change, problem_of


def config(model_type: str, sizes: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
    )
    return (
        {"model_type": model_type, "max_position_embeddings": 4096}
        | dict(zip(names, sizes, strict=True))
        | more
    )


CONFIGS = {
    "Llama-2-7b": config("llama", (4096, 11008, 32, 32, 32, 32000)),
    "Llama-3-8B": config("llama", (4096, 14336, 32, 32, 8, 128256), torch_dtype="bfloat16"),
    "Llama-2-70b": config("llama", (8192, 28672, 80, 64, 8, 32000)),
    "Llama-3.1-405B": config("llama", (16384, 53248, 126, 128, 8, 128256)),
    "Qwen2.5-14B": config("qwen2", (5120, 13824, 48, 40, 8, 152064)),
}
PARAMETERS = {
    "Llama-2-7b": 6_738_415_616,
    "Llama-3-8B": 8_030_261_248,
    "Llama-2-70b": 68_976_648_192,
    "Llama-3.1-405B": 405_853_388_800,
    "Qwen2.5-14B": 14_770_033_664,
}


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


@pytest.mark.parametrize(
    ("model", "before", "after", "percent"),
    [
        ("Llama-2-7b", 11008, 9856, 6.7224),
        ("Llama-3-8B", 14336, 12928, 6.8945),
        ("Qwen2.5-14B", 13824, 12416, 7.0284),
    ],
)
def test_a_tenth_of_the_width(model: str, before: int, after: int, percent: float, estimate: Any) -> None:
    answer = estimate(model, "osscar", 0.1)
    assert (answer["intermediate_size_before"], answer["intermediate_size_after"]) == (before, after)
    assert answer["layers_before"] == answer["layers_after"] == CONFIGS[model]["num_hidden_layers"]
    assert answer["parameters_before"] == PARAMETERS[model]
    assert round(100 * answer["removed_share"], 4) == percent


@pytest.mark.parametrize(
    ("model", "removed", "percent"),
    [
        ("Llama-2-7b", 3, 9.0103),
        ("Llama-2-70b", 9, 11.1645),
        ("Qwen2.5-14B", 5, 9.3185),
        ("Llama-3.1-405B", 13, 10.2106),
    ],
)
def test_some_of_the_layers(model: str, removed: int, percent: float, estimate: Any) -> None:
    layers = CONFIGS[model]["num_hidden_layers"]
    answer = estimate(model, "depth", removed / layers)
    assert (answer["layers_before"], answer["layers_after"]) == (layers, layers - removed)
    assert answer["intermediate_size_before"] == answer["intermediate_size_after"]
    assert answer["parameters_before"] == PARAMETERS[model]
    assert round(100 * answer["removed_share"], 4) == percent


def test_bytes_follow_the_checkpoints_dtype_and_the_one_asked_for(estimate: Any, refusing_api: Api) -> None:
    answer = estimate("Llama-3-8B", "osscar", 0.1)
    assert answer["dtype"] == "bfloat16"
    assert answer["result_bytes"] == 2 * answer["parameters_after"]
    assert answer["peak_device_bytes"] > 2 * answer["parameters_before"]


def test_bytes_follow_the_dtype_that_is_asked_for(estimate: Any) -> None:
    answer = estimate("Llama-3-8B", "osscar", 0.1, dtype="float32")
    assert (answer["dtype"], answer["result_bytes"]) == ("float32", 4 * answer["parameters_after"])


def test_what_a_job_would_be_refused_for_is_refused_here_too(refusing_api: Api, body: Change) -> None:
    for changes in ({"ratio": 2}, {"ratio": 0.99}, {"model": "/etc"}, {"surprise": 1}):
        of_job = refusing_api.refused(body(changes))
        response = refusing_api.client.post("/estimates", json=body(changes))
        assert problem_of(response, 422) == of_job
