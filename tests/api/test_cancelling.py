"""A queued job is cancelled at once, a running one is asked to stop, a finished one stays as it is."""

import pytest

from jobs import store
from tests.api.conftest import Api, Change, problem_of
from tests.api.pretend_worker import PretendWorker


@pytest.fixture
def job_id(api: Api, body: Change) -> str:
    return str(api.submit(body()).json()["id"])


def test_a_queued_job_is_cancelled_at_once(api: Api, job_id: str) -> None:
    response = api.client.post(f"/jobs/{job_id}/cancel")
    assert response.status_code == 202
    assert response.json()["state"] == "cancelled"
    assert response.json()["finished_at"]


def test_a_running_job_is_asked_to_stop_and_the_worker_hears_of_it(
    api: Api, job_id: str, worker: PretendWorker
) -> None:
    lease = worker.start(job_id)
    assert not store.renew(worker.engine, lease, 60).cancel_requested
    for _ in range(2):
        response = api.client.post(f"/jobs/{job_id}/cancel")
        assert response.status_code == 202
        assert (response.json()["state"], response.json()["cancel_requested"]) == ("running", True)
    assert store.renew(worker.engine, lease, 60).cancel_requested


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_finished_job_stays_as_it_is(end: str, api: Api, job_id: str, worker: PretendWorker) -> None:
    match end:
        case "succeeded":
            worker.succeed(job_id)
        case "failed":
            worker.fail(job_id)
        case _:
            api.client.post(f"/jobs/{job_id}/cancel")
    before = api.client.get(f"/jobs/{job_id}").json()
    problem = problem_of(api.client.post(f"/jobs/{job_id}/cancel"), 409)
    assert problem["type"] == "/problems/job-finished"
    assert problem["detail"] == f"Job {job_id} is {end} and stays so. There is nothing to cancel."
    assert api.client.get(f"/jobs/{job_id}").json() == before
