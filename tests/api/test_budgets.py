"""A memory budget that no plan fits is refused when the job is sent; what the answer proposes is accepted."""

import re

import pytest

from tests.api.conftest import Api, Change


@pytest.mark.parametrize("method", ["osscar", "depth"])
def test_a_budget_below_one_layers_work_is_refused(refusing_api: Api, body: Change, method: str) -> None:
    problem = refusing_api.refused(
        body({"method": method, "ratio": 0.5, "memory_budget": {"device": "1KiB"}})
    )
    assert problem["type"] == "/problems/not-enough-memory"
    (error,) = problem["errors"]
    assert error["field"] == "model"
    assert "0.0 MiB are free" in error["reason"]
    assert "one layer at a time" in error["reason"]
    needed = re.search(r"solved in the machine's memory, ([\d.,]+) MiB there", error["reason"])
    assert needed
    enough = {"device": f"{float(needed[1].replace(',', '')) + 0.1}MiB", "host": "1GiB"}
    accepted = body({"method": method, "ratio": 0.5, "memory_budget": enough})
    assert refusing_api.submit(accepted).status_code == 201


def test_a_budget_says_nothing_of_where_a_job_runs_without_one(refusing_api: Api, body: Change) -> None:
    assert refusing_api.submit(body({"memory_budget": {"host": "1KiB"}})).status_code == 201
