"""One job with all it has measured, and lists of jobs page by page."""

from uuid import uuid4

import pytest

from jobs import store
from tests.api.conftest import Api, Change, Json, problem_of
from tests.api.pretend_worker import OUT_OF_MEMORY, PretendWorker

CANDIDATE = {
    "layers": [1, 2],
    "perplexity": 23.0,
    "low": 22.5,
    "high": 23.5,
    "tokens": 252,
    "in_race": True,
    "healed": None,
    "block_influence": None,
}
CANCEL, READ = "/jobs/{}/cancel", "/jobs/{}"


def call(api: Api, path: str, job_id: str) -> Json:
    method = "POST" if path == CANCEL else "GET"
    response = api.client.request(method, path.format(job_id))
    return problem_of(response, response.status_code)


@pytest.mark.parametrize("path", [READ, CANCEL])
@pytest.mark.parametrize(
    "job_id", ["1", "not-an-id", "%00", "' or 1=1", "7f3f0a6e-0000-4000-8000-00000000000g"]
)
def test_a_job_id_that_is_no_id_is_refused(path: str, job_id: str, refusing_api: Api) -> None:
    problem = call(refusing_api, path, job_id)
    assert (problem["status"], problem["type"]) == (422, "/problems/invalid-request")
    (error,) = problem["errors"]
    assert (error["field"], error["reason"]) == ("job_id", "this is not a job id.")
    assert error["remedy"] == "Use the id that POST /jobs answered."


@pytest.mark.parametrize("path", [READ, CANCEL])
def test_an_id_that_no_job_has_is_not_found(path: str, refusing_api: Api) -> None:
    job_id = str(uuid4())
    problem = call(refusing_api, path, job_id)
    assert (problem["status"], problem["type"]) == (404, "/problems/job-not-found")
    assert problem["detail"] == f"There is no job {job_id}. GET /jobs lists those there are."


def test_a_running_job_tells_its_points_and_candidates(api: Api, body: Change, worker: PretendWorker) -> None:
    job_id = api.submit(body()).json()["id"]
    lease = worker.start(job_id)
    worker.report(lease, "stage", stage="pruning")
    worker.report(lease, "dense", perplexity=20.0, parameters=1000, dtype="float32")
    worker.report(lease, "progress", fraction=0.4, eta_seconds=30)
    worker.report(lease, "layer", layer=0, error=0.1, seconds=1.0)
    worker.report(lease, "perplexity", layer=1, perplexity=20.5, windows=2)
    worker.report(lease, "perplexity", layer=2, perplexity=float("inf"), windows=2)
    worker.report(lease, "candidate", **CANDIDATE | {"perplexity": 24.0, "tokens": 126})
    worker.report(lease, "candidate", **CANDIDATE)
    job = api.client.get(f"/jobs/{job_id}").json()
    assert (job["state"], job["stage"], job["progress"], job["eta_seconds"]) == (
        "running",
        "pruning",
        0.4,
        30,
    )
    assert job["perplexity"] == {
        "before": 20.0,
        "after": None,
        "ratio": None,
        "dataset": "builtin",
        "dtype": "float32",
        "points": [
            {"layer": 1, "perplexity": 20.5, "windows": 2},
            {"layer": 2, "perplexity": None, "windows": 2},
        ],
        "candidates": [CANDIDATE],
        "held_out": None,
    }
    assert job["parameters"] == {"before": 1000, "after": None, "removed_share": None}


def test_the_points_of_a_second_attempt_replace_those_of_the_first(
    api: Api, body: Change, worker: PretendWorker
) -> None:
    job_id = api.submit(body()).json()["id"]
    first = worker.start(job_id)
    worker.report(first, "perplexity", layer=1, perplexity=20.5, windows=2)
    worker.report(first, "candidate", **CANDIDATE)
    worker.report(first, "held_out", perplexity_before=19.0, perplexity_after=24.0, windows=1)
    store.hand_back(worker.engine, first, "the worker stops")
    second = worker.start(job_id)
    worker.report(second, "perplexity", layer=1, perplexity=21.5, windows=2)
    perplexity = api.client.get(f"/jobs/{job_id}").json()["perplexity"]
    assert [point["perplexity"] for point in perplexity["points"]] == [21.5]
    assert perplexity["candidates"] == []
    assert perplexity["held_out"] is None
    worker.report(second, "held_out", perplexity_before=19.0, perplexity_after=23.5, windows=1)
    perplexity = api.client.get(f"/jobs/{job_id}").json()["perplexity"]
    assert perplexity["held_out"] == {"before": 19.0, "after": 23.5, "windows": 1}


def test_a_job_tells_how_much_of_its_checkpoint_this_attempt_has_uploaded(
    api: Api, body: Change, worker: PretendWorker
) -> None:
    job_id = api.submit(body({"destination": {"kind": "hub", "repo_id": "team/model"}})).json()["id"]
    first = worker.start(job_id)
    assert api.client.get(f"/jobs/{job_id}").json()["upload"] is None
    for done in (0, 600):
        worker.report(first, "upload", bytes=done, total=1000)
    assert api.client.get(f"/jobs/{job_id}").json()["upload"] == {"bytes": 600, "total": 1000}
    store.hand_back(worker.engine, first, "the worker stops")
    worker.start(job_id)
    assert api.client.get(f"/jobs/{job_id}").json()["upload"] is None


def test_a_job_that_succeeded_tells_what_it_cost(api: Api, body: Change, worker: PretendWorker) -> None:
    job_id = api.submit(body()).json()["id"]
    worker.succeed(job_id)
    job = api.client.get(f"/jobs/{job_id}").json()
    assert (job["state"], job["progress"], job["stage"], job["error"]) == ("succeeded", 1, None, None)
    assert job["perplexity"]["ratio"] == 1.25
    assert job["parameters"] == {"before": 1000, "after": 900, "removed_share": 0.1}
    assert job["cut"] == {"intermediate_size_before": 256, "intermediate_size_after": 128}
    assert job["artifact"]["files"][0]["sha256"] == "0" * 64
    assert job["finished_at"] >= job["started_at"] >= job["created_at"]


def test_a_job_that_failed_tells_why(api: Api, body: Change, worker: PretendWorker) -> None:
    job_id = api.submit(body()).json()["id"]
    worker.fail(job_id)
    job = api.client.get(f"/jobs/{job_id}").json()
    assert (job["state"], job["error"], job["artifact"]) == ("failed", OUT_OF_MEMORY, None)


def test_pages_visit_every_job_once_from_the_newest_on(api: Api, body: Change) -> None:
    submitted = [api.submit(body()).json()["id"] for _ in range(5)]
    visited, cursor = [], None
    while True:
        page = api.client.get("/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        visited += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["items"]) == 2
    assert visited == submitted[::-1]


def test_lists_are_filtered_by_state_model_and_method(api: Api, body: Change, worker: PretendWorker) -> None:
    osscar, depth = (api.submit(body({"method": method})).json()["id"] for method in ("osscar", "depth"))
    worker.start(depth)
    model = body()["model"]

    def listed(**filters: str) -> list[str]:
        return [job["id"] for job in api.client.get("/jobs", params=filters).json()["items"]]

    assert listed(state="queued") == [osscar]
    assert listed(state="running", method="depth", model=model) == [depth]
    assert listed(model=model) == [depth, osscar]
    assert listed(model="another") == listed(state="failed") == listed(state="queued", method="depth") == []


@pytest.mark.parametrize("path", ["/jobs", "/results", "/"])
@pytest.mark.parametrize("cursor", ["", "abc", "%00", "é", "x" * 201, "MjAyNS0wMS0wMg"])
def test_a_cursor_that_is_none_is_refused(path: str, cursor: str, refusing_api: Api) -> None:
    problem = problem_of(refusing_api.client.get(f"{path}?cursor={cursor}"), 422)
    assert problem["type"] == "/problems/invalid-request"
    assert problem["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize("path", ["/jobs", "/results"])
@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("limit=0", "Use 1 or more."),
        ("limit=-1", "Use 1 or more."),
        ("limit=201", "Use 200 or less."),
        ("limit=ten", "Use a whole number."),
        ("limit=99999999999999999999", "Use 200 or less."),
        ("method=magnitude", "Use 'osscar' or 'depth'."),
        ("model=a%00b", "Leave it out."),
        ("model=" + "x" * 1025, "Use a shorter name."),
    ],
)
def test_a_filter_out_of_range_is_refused(path: str, query: str, remedy: str, refusing_api: Api) -> None:
    (error,) = problem_of(refusing_api.client.get(f"{path}?{query}"), 422)["errors"]
    assert (error["field"], error["remedy"]) == (query.split("=", maxsplit=1)[0], remedy)


def test_an_unknown_state_is_refused_and_the_known_are_named(refusing_api: Api) -> None:
    (error,) = problem_of(refusing_api.client.get("/jobs?state=done"), 422)["errors"]
    assert (error["field"], error["value"], error["reason"]) == ("state", "done", "there is no such state.")
    assert error["remedy"] == "Use 'queued', 'running', 'succeeded', 'failed' or 'cancelled'."
