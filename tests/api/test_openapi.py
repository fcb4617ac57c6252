"""The description of the API is valid, complete, and its examples are accepted."""

import re
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from pydantic import TypeAdapter

from api import problems
from api.problems import ProblemError
from api.schemas import JobRequest
from pruning_core.errors import RecipeError
from tests.api.conftest import Api

# What only the command line or a worker can meet.
NOT_OF_THE_API = {"invalid-recipe", "unknown-device", "output-exists"}

# Which is not ours to describe.
IN_THE_HUBS_PROTOCOL = {"repository-not-found", "revision-not-found", "entry-not-found"}


@pytest.fixture(scope="module")
def schema(refusing_api: Api) -> dict[str, Any]:
    described: dict[str, Any] = refusing_api.client.get("/openapi.json").json()
    return described


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def classes(base: type) -> list[Any]:
    return [found for each in base.__subclasses__() for found in (each, *classes(each))]


def documented(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The problem types of an operation, with the examples of each."""
    return {
        example["value"]["type"]: example["value"] | {"documented_status": int(status)}
        for status, response in operation["responses"].items()
        for example in response.get("content", {}).get(problems.MEDIA_TYPE, {}).get("examples", {}).values()
    }


def test_it_is_valid_and_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    OpenAPI.model_validate(schema)
    assert schema["openapi"].startswith("3.1")

    def check(part: Any) -> None:
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                place: Any = schema
                for name in reference.removeprefix("#/").split("/"):
                    place = place[name]
            for value in part.values():
                check(value)
        elif isinstance(part, list):
            for value in part:
                check(value)

    check(schema)


def test_it_describes_every_route_of_the_design(schema: dict[str, Any]) -> None:
    assert set(operations(schema)) == {
        "POST /jobs",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "GET /jobs/{job_id}/events",
        "POST /jobs/{job_id}/cancel",
        "POST /jobs/{job_id}/retry",
        "POST /estimates",
        "GET /results",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_error_response_is_a_problem(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema).items():
        for status, response in operation["responses"].items():
            if int(status) >= 400 and (name, status) != ("GET /readyz", "503"):
                assert list(response["content"]) == [problems.MEDIA_TYPE], (name, status)


def test_every_operation_says_what_it_does(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema).items():
        assert operation["summary"], name
        assert operation["description"], name


DESCRIBED = [error for error in classes(ProblemError) if error.slug not in IN_THE_HUBS_PROTOCOL]


@pytest.mark.parametrize("error", DESCRIBED, ids=lambda error: error.slug)
def test_every_problem_stands_under_its_status(error: type[ProblemError], schema: dict[str, Any]) -> None:
    found = [
        documented(operation).get(f"/problems/{error.slug}") for operation in operations(schema).values()
    ]
    statuses = {problem["documented_status"] for problem in found if problem}
    assert statuses == {int(error.status)}


@pytest.mark.parametrize("name", ["POST /jobs", "POST /estimates"])
def test_everything_that_a_recipe_is_refused_for_is_documented(name: str, schema: dict[str, Any]) -> None:
    # What a destination is refused for is found out by workers.
    of_a_recipe = [error for error in classes(RecipeError) if error.__module__ == RecipeError.__module__]
    wanted = {f"/problems/{error.slug}" for error in of_a_recipe if error.slug not in NOT_OF_THE_API}
    if name == "POST /estimates":
        # It says what a job takes, and that no plan fits.
        wanted.remove("/problems/not-enough-memory")
    assert wanted <= set(documented(operations(schema)[name]))


@pytest.mark.parametrize("name", ["POST /jobs", "POST /estimates"])
def test_the_examples_are_accepted(name: str, schema: dict[str, Any]) -> None:
    examples = operations(schema)[name]["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"osscar", "depth", "hub"}
    for example in examples.values():
        assert TypeAdapter(JobRequest).validate_python(example["value"])


def test_the_page_that_every_problem_points_to_shows_all_of_it(
    refusing_api: Api, schema: dict[str, Any]
) -> None:
    page = refusing_api.client.get("/docs").text
    for name in operations(schema):
        assert f"<code>{name}</code>" in page
    for name, described in schema["components"]["schemas"].items():
        section = page.split(f'<section id="{name}">', 1)[1].split("</section>", 1)[0]
        for field in described.get("properties", {}):
            assert f"<code>{field}</code>" in section, (name, field)
    # With its bounds, its default and what it means.
    assert "number, above 0, at most 10" in page
    assert "λ while channels are chosen" in page
    # Each link leads somewhere.
    links, anchors = set(re.findall(r'href="#([^"]+)"', page)), set(re.findall(r'id="([^"]+)"', page))
    assert links
    assert links <= anchors
