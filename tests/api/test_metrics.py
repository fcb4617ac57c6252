"""What Prometheus scrapes is what the database knows, and what this process answered."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.application import create_app
from jobs import store
from jobs.models import Job
from jobs.settings import Settings
from tests.api.conftest import Api, Change
from tests.api.pretend_worker import PretendWorker
from tests.exposition import Scrape, documented


def scrape(client: TestClient) -> Scrape:
    response = client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    return Scrape(response.text)


def submit(api: Api, body: dict[str, Any]) -> str:
    return str(api.submit(body).json()["id"])


def alter(engine: Engine, job_id: str, **values: Any) -> None:
    with Session(engine) as session, session.begin():
        session.execute(update(Job).where(Job.id == UUID(job_id)).values(**values))


def ago(seconds: float) -> Any:
    return func.now() - timedelta(seconds=seconds)


def test_jobs_are_counted_by_state_and_method(api: Api, body: Change, worker: PretendWorker) -> None:
    assert scrape(api.client).value("secateur_jobs", state="queued", method="osscar") == 0
    submit(api, body())
    submit(api, body({"method": "depth"}))
    worker.start(submit(api, body()))
    seen = scrape(api.client)
    assert seen.value("secateur_jobs", state="queued", method="osscar") == 1
    assert seen.value("secateur_jobs", state="queued", method="depth") == 1
    assert seen.value("secateur_jobs", state="running", method="osscar") == 1
    assert seen.value("secateur_jobs", state="running", method="depth") == 0


def test_what_happened_is_counted_and_finished_jobs_with_it(
    api: Api, body: Change, engine: Engine, worker: PretendWorker
) -> None:
    before = scrape(api.client)
    for state in ("succeeded", "failed", "cancelled"):
        assert before.value("secateur_jobs", state=state, method="osscar") == 0
    worker.succeed(submit(api, body()))
    worker.succeed(submit(api, body({"method": "depth"})))
    worker.fail(submit(api, body()))
    api.client.post(f"/jobs/{submit(api, body())}/cancel")
    store.hand_back(engine, worker.start(submit(api, body())), "the worker is shutting down")
    silent = submit(api, body())
    worker.start(silent)
    alter(engine, silent, lease_expires_at=ago(1))
    store.reconcile(engine)
    seen = scrape(api.client)
    with Session(engine) as session:
        counted = session.execute(select(Job.state, Job.method, func.count()).group_by(Job.state, Job.method))
    for state, method, jobs in counted:
        assert seen.value("secateur_jobs", state=state, method=method) == jobs
    assert seen.value("secateur_claims_total", method="osscar") == 4
    assert seen.value("secateur_claims_total", method="depth") == 1
    assert seen.value("secateur_hand_backs_total", method="osscar") == 1
    assert seen.value("secateur_lease_losses_total", method="osscar") == 1


def test_the_queue_is_as_old_as_the_longest_wait_of_who_could_be_claimed(
    api: Api, body: Change, engine: Engine, worker: PretendWorker
) -> None:
    assert scrape(api.client).value("secateur_queue_age_seconds") == 0
    running, backing_off, handed_back = (submit(api, body()) for _ in range(3))
    worker.start(running)
    alter(engine, running, available_at=ago(9000))
    alter(engine, backing_off, created_at=ago(9000), available_at=ago(-60))
    alter(engine, handed_back, created_at=ago(9000), available_at=ago(100))
    submit(api, body({"method": "depth"}))
    assert 100 <= scrape(api.client).value("secateur_queue_age_seconds") < 130


def test_a_silent_worker_shows_until_the_reconciler_moves_its_job_on(
    api: Api, body: Change, engine: Engine, worker: PretendWorker
) -> None:
    job_id = submit(api, body())
    worker.start(job_id)
    assert scrape(api.client).value("secateur_expired_leases") == 0
    alter(engine, job_id, lease_expires_at=ago(1))
    assert scrape(api.client).value("secateur_expired_leases") == 1


def test_requests_are_counted_by_route_and_never_by_what_clients_invent(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        api.client.get(f"/jobs/{UUID(int=number)}")
        api.client.request("BREW", f"/coffee/{number}")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("jobs.store.list_jobs", fail)
    api.client.get("/jobs")
    seen = scrape(api.client)
    requests = "secateur_http_requests_total"
    assert seen.value(requests, method="GET", route="/jobs/{job_id}", status="404") == 3
    assert seen.value(requests, method="other", route="other", status="404") == 3
    assert seen.value(requests, method="GET", route="/jobs", status="500") == 1
    seconds = "secateur_http_request_seconds"
    assert seen.value(f"{seconds}_count", method="GET", route="/jobs/{job_id}") == 3
    assert 0 < seen.value(f"{seconds}_sum", method="GET", route="/jobs/{job_id}") < 60


def test_without_the_database_it_says_so_and_makes_nothing_up(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with TestClient(create_app(away)) as client:
        seen = scrape(client)
    assert seen.value("secateur_database_up") == 0
    assert "secateur_jobs" not in seen.described()


def test_openmetrics_is_spoken_to_who_asks_for_it(api: Api) -> None:
    asked = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    answer = api.client.get("/metrics", headers=asked)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_the_page_lists_every_metric_as_it_is(api: Api) -> None:
    assert scrape(api.client).described() == documented("metric of the API")
