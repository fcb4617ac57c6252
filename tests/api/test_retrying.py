"""A job that failed or was cancelled is run again as a new one."""

from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.conftest import Api, Change, problem_of
from tests.api.pretend_worker import PretendWorker

BODIES = {
    "osscar": {},
    "depth": {"method": "depth", "ratio": 0.25},
    "named layers": {"method": "depth", "ratio": None, "options": {"layers": [1]}},
}


@pytest.mark.parametrize("end", ["failed", "cancelled"])
@pytest.mark.parametrize("kind", BODIES)
def test_the_new_job_has_the_same_request_and_the_old_one_stays_as_it_is(
    kind: str, end: str, api: Api, body: Change, worker: PretendWorker
) -> None:
    sent = {name: value for name, value in body(BODIES[kind]).items() if value is not None}
    job_id = api.submit(sent).json()["id"]
    worker.fail(job_id) if end == "failed" else api.client.post(f"/jobs/{job_id}/cancel")
    before = api.client.get(f"/jobs/{job_id}").json()
    assert before["state"] == end
    api.take_wake_ups()
    response = api.client.post(f"/jobs/{job_id}/retry")
    assert response.status_code == 201, response.text
    again = response.json()
    assert response.headers["location"] == f"/jobs/{again['id']}"
    assert again["id"] != job_id
    assert (again["state"], again["attempt"]) == ("queued", 0)
    assert again["request"] == before["request"]
    assert api.take_wake_ups() == [again["id"]]
    assert api.client.get(f"/jobs/{job_id}").json() == before


def test_a_retry_that_is_sent_twice_with_one_key_is_one_job(
    api: Api, body: Change, worker: PretendWorker
) -> None:
    job_id = api.submit(body()).json()["id"]
    worker.fail(job_id)
    first, second = (
        api.client.post(f"/jobs/{job_id}/retry", headers={"Idempotency-Key": "again"}) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_what_has_not_failed_is_not_retried(
    state: str, api: Api, body: Change, worker: PretendWorker
) -> None:
    job_id = api.submit(body()).json()["id"]
    if state == "running":
        worker.start(job_id)
    elif state == "succeeded":
        worker.succeed(job_id)
    with api.unchanged():
        problem = problem_of(api.client.post(f"/jobs/{job_id}/retry"), 409)
    assert problem["type"] == "/problems/job-not-retryable"
    assert f"is {state}" in problem["detail"]


def test_what_is_wrong_by_now_is_refused(api: Api, body: Change, worker: PretendWorker, texts: Path) -> None:
    text = texts / "calibration.txt"
    text.write_text("words " * 5000)
    job_id = api.submit(body({"calibration.dataset": str(text)})).json()["id"]
    worker.fail(job_id)
    text.unlink()
    with api.unchanged():
        problem = problem_of(api.client.post(f"/jobs/{job_id}/retry"), 422)
    assert problem["errors"][0]["field"] == "calibration.dataset"


def test_there_is_no_such_job(api: Api) -> None:
    assert problem_of(api.client.post(f"/jobs/{uuid4()}/retry"), 404)["type"] == "/problems/job-not-found"
