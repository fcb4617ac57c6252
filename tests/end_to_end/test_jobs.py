"""Jobs through the whole service: HTTP in, checkpoint out, whatever dies in between."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.pruning_core.test_pruning import load_and_measure
from tests.running_service import HUB_TOKEN, Service
from tests.worker.conftest import REQUESTS


def body(model: Path, method: str, samples: int = 8) -> dict[str, Any]:
    return {
        "model": str(model),
        "method": method,
        "calibration": {"dataset": "builtin", "samples": samples, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        **REQUESTS[method],
    }


@pytest.mark.parametrize("method", ["osscar", "depth"])
def test_a_job_goes_from_http_to_a_checkpoint_that_measures_as_reported(
    service: Service, tiny_llama: Path, method: str
) -> None:
    job = service.finish(service.submit(**body(tiny_llama, method))["id"])
    assert job["state"] == "succeeded", job["error"]
    measured = load_and_measure(Path(job["artifact"]["location"]))
    assert measured["perplexity"] == pytest.approx(job["perplexity"]["after"], rel=1e-4)
    assert measured["parameters"] == job["parameters"]["after"]
    results = service.http.get("/results").json()["items"]
    assert job["id"] in {result["job_id"] for result in results}
    page = service.http.get("/").text
    assert f"{job['perplexity']['after']:.2f}" in page


def test_a_running_job_is_cancelled(service: Service, slow_llama: Path) -> None:
    job_id = service.submit(**body(slow_llama, "osscar", samples=1000))["id"]
    service.wait(job_id, lambda job: job["stage"] == "pruning")
    assert service.http.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert service.finish(job_id)["state"] == "cancelled"


def test_a_job_whose_worker_is_killed_is_run_again_to_its_end(service: Service, slow_llama: Path) -> None:
    job_id = service.submit(**body(slow_llama, "osscar", samples=24), options={"producer_steps": 0})["id"]
    service.wait(job_id, lambda job: job["stage"] == "pruning")
    service.worker().kill()
    job = service.finish(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2), job["error"]
    model = AutoModelForCausalLM.from_pretrained(job["artifact"]["location"])
    assert model.num_parameters() == job["parameters"]["after"]


def test_the_workers_hub_token_is_nowhere_to_be_read(service: Service, tiny_llama: Path) -> None:
    """Neither in answers nor in any file: those of Postgres, logs, checkpoints, all that the jobs before left."""
    answers = [
        service.http.post("/jobs", json=body(tiny_llama, "osscar") | {"model": "nobody/nothing"}),
        service.http.get("/jobs"),
        service.http.get(f"/jobs/{service.http.get('/jobs').json()['items'][0]['id']}"),
        service.http.get("/"),
    ]
    assert [answer.status_code for answer in answers] == [422, 200, 200, 200]
    assert not [answer for answer in answers if HUB_TOKEN in answer.text]
    files = [path for path in service.data_dir.rglob("*") if path.is_file()]
    assert {"secateur.log", "service.json", "config.json"} <= {path.name for path in files}
    assert not [path for path in files if HUB_TOKEN.encode() in path.read_bytes()]
    # It was there to be told.
    assert service.worker().environ()["HF_TOKEN"] == HUB_TOKEN
