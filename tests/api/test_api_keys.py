"""Who may do what with which key."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from api.application import create_app
from jobs import store
from jobs.api_keys import Scope
from jobs.models import ApiKey, Job
from jobs.settings import Settings
from tests.api.conftest import Change, problem_of
from tests.api.pretend_worker import PretendWorker

GETS = ["/jobs", "/jobs/{job}", "/results", "/metrics", "/"]
MakeKey = Callable[..., str]


@pytest.fixture
def guarded(settings: Settings) -> Iterator[TestClient]:
    """An API that asks for keys."""
    with TestClient(create_app(settings.model_copy(update={"require_api_keys": True}))) as client:
        yield client


@pytest.fixture
def make_key(engine: Engine) -> MakeKey:
    def make(name: str, *scopes: str, max_queued_jobs: int = 10, requests_per_minute: int = 1000) -> str:
        made = store.create_key(
            engine,
            name,
            [Scope(scope) for scope in scopes],
            max_queued_jobs=max_queued_jobs,
            requests_per_minute=requests_per_minute,
        )
        return made.secret

    return make


def by(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def submit(client: TestClient, body: Any, key: str, **headers: str) -> str:
    response = client.post("/jobs", json=body, headers=by(key) | headers)
    assert response.status_code in (200, 201), response.text
    return str(response.json()["id"])


@pytest.fixture
def job(guarded: TestClient, make_key: MakeKey, body: Change) -> str:
    return submit(guarded, body(), make_key("first", "submit"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        by("sec_nonsense"),
        by("é"),
        {"Authorization": "Basic bm9ib2R5OmE="},
        {"Authorization": "Basic ?"},
        {"Authorization": "Digest x"},
    ],
)
def test_without_a_key_there_is_nothing_to_see_or_to_do(
    headers: dict[str, str], guarded: TestClient, job: str, body: Change, engine: Engine
) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    for path in GETS:
        refused = guarded.get(path.format(job=job), headers=encoded)
        assert problem_of(refused, 401)["type"] == "/problems/unauthorized"
        assert refused.headers["www-authenticate"].startswith("Basic")
    for path, sent in [
        ("/jobs", body()),
        ("/estimates", body()),
        (f"/jobs/{job}/cancel", None),
        (f"/jobs/{job}/retry", None),
    ]:
        problem_of(guarded.post(path, json=sent, headers=encoded), 401)
    with engine.connect() as connection:
        assert connection.execute(select(Job.state)).scalars().all() == ["queued"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/static/secateur.css"])
def test_probes_and_what_says_nothing_of_jobs_need_none(path: str, guarded: TestClient) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    ("scope", "read", "submitted"), [("read", 200, 403), ("submit", 403, 201), ("admin", 200, 201)]
)
def test_a_key_may_what_its_scopes_say(
    scope: str, read: int, submitted: int, guarded: TestClient, make_key: MakeKey, job: str, body: Change
) -> None:
    key = by(make_key(scope, scope))
    for path in GETS:
        response = guarded.get(path.format(job=job), headers=key)
        assert response.status_code == read, path
        if read == 403:
            assert "--scope read" in problem_of(response, 403)["detail"]
    assert guarded.post("/jobs", json=body(), headers=key).status_code == submitted
    # Nothing to retry there, for who may.
    assert guarded.post(f"/jobs/{job}/retry", headers=key).status_code == (409 if submitted == 201 else 403)
    assert guarded.post("/estimates", json=body(), headers=key).status_code == (
        200 if submitted == 201 else 403
    )


@pytest.mark.parametrize(("scope", "status"), [("read", 200), ("submit", 403), ("admin", 200)])
def test_who_may_read_may_follow_a_job(
    scope: str, status: int, guarded: TestClient, make_key: MakeKey, job: str, engine: Engine
) -> None:
    # So that its stream ends.
    store.request_cancel(engine, UUID(job))
    problem_of(guarded.get(f"/jobs/{job}/events"), 401)
    followed = guarded.get(f"/jobs/{job}/events", headers=by(make_key(scope, scope)))
    assert followed.status_code == status
    assert ("event: end" in followed.text) == (status == 200)


def test_browsers_read_with_the_key_as_password_and_change_nothing(
    guarded: TestClient, make_key: MakeKey, job: str
) -> None:
    password = ("anybody", make_key("browser", "admin"))
    assert guarded.get("/", auth=password).status_code == 200
    problem_of(guarded.post(f"/jobs/{job}/cancel", auth=password), 401)


def test_a_revoked_key_is_no_key(guarded: TestClient, make_key: MakeKey, engine: Engine) -> None:
    key = make_key("short-lived", "read")
    assert guarded.get("/jobs", headers=by(key)).status_code == 200
    store.revoke_key(engine, "short-lived")
    assert "revoked" in problem_of(guarded.get("/jobs", headers=by(key)), 401)["detail"]


def test_only_whose_job_it_is_cancels_it_or_an_admin(
    guarded: TestClient, make_key: MakeKey, job: str, worker: PretendWorker, body: Change
) -> None:
    other, admin = make_key("other", "read", "submit"), make_key("boss", "admin")
    for _ in ("queued", "running"):
        refused = problem_of(guarded.post(f"/jobs/{job}/cancel", headers=by(other)), 403)
        assert refused["detail"].startswith(f"Job {job} was submitted by first.")
        worker.start(job) if guarded.get(f"/jobs/{job}", headers=by(other)).json()[
            "state"
        ] == "queued" else None
    assert not guarded.get(f"/jobs/{job}", headers=by(other)).json()["cancel_requested"]
    assert guarded.post(f"/jobs/{job}/cancel", headers=by(admin)).status_code == 202
    own = submit(guarded, body(), other)
    assert guarded.post(f"/jobs/{own}/cancel", headers=by(other)).json()["state"] == "cancelled"
    # Nor is it said of a finished one what became of it.
    problem_of(guarded.post(f"/jobs/{own}/cancel", headers=by(make_key("third", "submit"))), 403)


def test_a_job_says_whose_it_is_and_idempotency_keys_are_their_own(
    guarded: TestClient, make_key: MakeKey, body: Change
) -> None:
    one, two = make_key("one", "read", "submit"), make_key("two", "submit")
    jobs = [submit(guarded, body(), key, **{"Idempotency-Key": "same"}) for key in (one, two, one)]
    assert jobs[0] == jobs[2] != jobs[1]
    owners = [guarded.get(f"/jobs/{job}", headers=by(one)).json()["submitted_by"] for job in jobs]
    assert owners == ["one", "two", "one"]


def test_so_many_jobs_of_a_key_wait_and_no_more(
    guarded: TestClient, make_key: MakeKey, body: Change, worker: PretendWorker
) -> None:
    key = make_key("eager", "submit", max_queued_jobs=2)
    first = submit(guarded, body(), key, **{"Idempotency-Key": "first"})
    submit(guarded, body(), key)
    refused = guarded.post("/jobs", json=body(), headers=by(key))
    problem = problem_of(refused, 429)
    assert problem["type"] == "/problems/too-many-queued-jobs"
    assert problem["detail"].startswith("eager has 2 jobs queued")
    assert int(refused.headers["retry-after"]) > 0
    # What was accepted before is accepted again, and others may still submit.
    assert submit(guarded, body(), key, **{"Idempotency-Key": "first"}) == first
    submit(guarded, body(), make_key("patient", "submit", max_queued_jobs=1))
    worker.start(first)
    submit(guarded, body(), key)


def test_so_many_requests_a_minute_and_no_more(guarded: TestClient, make_key: MakeKey) -> None:
    busy, calm = make_key("busy", "read", requests_per_minute=3), make_key("calm", "read")
    assert [guarded.get("/jobs", headers=by(busy)).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = guarded.get("/jobs", headers=by(busy))
    assert problem_of(refused, 429)["type"] == "/problems/too-many-requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert guarded.get("/jobs", headers=by(calm)).status_code == 200


def test_the_database_knows_digests_and_when_a_key_was_used(
    guarded: TestClient, make_key: MakeKey, engine: Engine
) -> None:
    key = make_key("secret", "read")
    (before,) = store.list_keys(engine)
    assert before.last_used_at is None
    guarded.get("/jobs", headers=by(key))
    with engine.connect() as connection:
        (row,) = connection.execute(select(ApiKey.__table__)).all()
    assert row.last_used_at is not None
    assert key.startswith(row.prefix)
    assert key not in str(row)


def test_where_no_key_is_required_a_wrong_one_is_still_wrong(
    settings: Settings, make_key: MakeKey, body: Change
) -> None:
    with TestClient(create_app(settings)) as client:
        assert client.post("/jobs", json=body()).json()["submitted_by"] == "anonymous"
        problem_of(client.get("/jobs", headers=by("sec_nonsense")), 401)
        key = make_key("known", "submit")
        assert client.post("/jobs", json=body(), headers=by(key)).json()["submitted_by"] == "known"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_where_no_key_is_required_other_sites_pages_change_nothing(
    site: str, settings: Settings, body: Change
) -> None:
    with TestClient(create_app(settings)) as client:
        job = client.post("/jobs", json=body()).json()["id"]
        problem_of(client.post(f"/jobs/{job}/cancel", headers={"Sec-Fetch-Site": site}), 403)
        assert client.get(f"/jobs/{job}", headers={"Sec-Fetch-Site": site}).json()["state"] == "queued"
        assert (
            client.post(f"/jobs/{job}/cancel", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 202
        )


def test_keys_are_required_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert Settings().require_api_keys
