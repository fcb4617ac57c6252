"""What every pruning cost, for programs and for spreadsheets."""

import csv
import io
import json

import pytest

from tests.api.conftest import Api, Change
from tests.api.pretend_worker import PretendWorker

EXCEL_LIKES = {"Accept": "text/csv"}


@pytest.fixture
def succeeded(api: Api, body: Change, worker: PretendWorker) -> list[str]:
    """Three jobs that succeeded, the newest first, beside one of each other kind."""
    jobs = [api.submit(body()).json()["id"] for _ in range(3)]
    for job_id in jobs:
        worker.succeed(job_id)
    api.submit(body())
    worker.start(api.submit(body()).json()["id"])
    worker.fail(api.submit(body()).json()["id"])
    return jobs[::-1]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_only_what_succeeded_is_a_result(api: Api, body: Change, succeeded: list[str]) -> None:
    page = api.client.get("/results").json()
    assert [result["job_id"] for result in page["items"]] == succeeded
    assert page["next"] is None
    seconds, finished_at = (page["items"][0].pop(name) for name in ("seconds", "finished_at"))
    assert seconds >= 0
    assert finished_at.endswith("Z")
    assert page["items"][0] == {
        "job_id": succeeded[0],
        "model": body()["model"],
        "method": "osscar",
        "ratio": 0.5,
        "perplexity_before": 20.0,
        "perplexity_after": 25.0,
        "perplexity_ratio": 1.25,
        "dataset": "builtin",
        "dtype": "float32",
        "parameters_before": 1000,
        "parameters_after": 900,
        "removed_share": 0.1,
        "cut": {"intermediate_size_before": 256, "intermediate_size_after": 128},
        "artifact": "pruned/tiny",
        "location": "/registry/pruned/tiny",
        "revision": None,
        "bytes": 3600,
    }


def test_csv_comes_by_accept_and_by_format_and_says_the_same_as_json(api: Api, succeeded: list[str]) -> None:
    by_accept = api.client.get("/results", headers=EXCEL_LIKES)
    by_format = api.client.get("/results?format=csv")
    assert by_accept.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_accept.text == by_format.text
    in_json = api.client.get("/results").json()["items"]
    in_csv = rows(by_accept.text)
    assert len(in_csv) == len(in_json) == 3
    for row, result in zip(in_csv, in_json, strict=True):
        assert json.loads(row.pop("cut")) == result.pop("cut")
        assert row == {name: "" if value is None else str(value) for name, value in result.items()}


def test_the_format_asked_for_outweighs_what_a_browser_accepts(api: Api, succeeded: list[str]) -> None:
    assert api.client.get("/results?format=json", headers=EXCEL_LIKES).json()["items"]


def test_no_results_are_a_header_line(api: Api) -> None:
    text = api.client.get("/results?format=csv").text
    assert text.startswith("job_id,model,method,ratio,perplexity_before,perplexity_after,")
    assert rows(text) == []


def test_the_next_page_of_csv_keeps_the_filters(api: Api, succeeded: list[str]) -> None:
    url, visited = "/results?format=csv&limit=2&method=osscar", []
    while url:
        response = api.client.get(url)
        visited += [row["job_id"] for row in rows(response.text)]
        url = response.links.get("next", {}).get("url", "")
        if url:
            assert len(visited) == 2
            assert "method=osscar" in url
    assert visited == succeeded


def test_the_next_page_of_csv_stays_csv_when_accept_asked_for_it(api: Api, succeeded: list[str]) -> None:
    following = api.client.get("/results?limit=2", headers=EXCEL_LIKES).links["next"]["url"]
    assert [row["job_id"] for row in rows(api.client.get(following).text)] == succeeded[2:]


def test_results_are_filtered_by_model_and_method(api: Api, body: Change, succeeded: list[str]) -> None:
    assert len(api.client.get("/results", params={"model": body()["model"]}).json()["items"]) == 3
    assert api.client.get("/results?model=another").json()["items"] == []
    assert api.client.get("/results?method=depth").json()["items"] == []
