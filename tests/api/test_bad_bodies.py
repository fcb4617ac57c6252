"""Bodies that are no request at all, and headers that are none."""

import json
from collections.abc import Iterator

import pytest

from tests.api.conftest import Api, Change, problem_of


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "The body is empty."),
        (b"{", "at character 1."),
        (b'{"model": }', "at character 10."),
        (b"{} {}", "Extra data at character 3."),
        (b'{"model": "\xff"}', "in UTF-8."),
        (b"[" * 30_000, "cannot be read as JSON."),
        (b'{"ratio": ' + b"1" * 6_000 + b"}", "cannot be read as JSON."),
    ],
)
def test_malformed_json_is_refused(content: bytes, says: str, refusing_api: Api) -> None:
    problem = refusing_api.refused(content, status=400)
    assert problem["type"] == "/problems/malformed-json"
    assert problem["title"] == "The body is not JSON"
    assert says in problem["detail"]
    assert "Send a JSON object" in problem["detail"]


@pytest.mark.parametrize("content", ["[]", "3", "null", '"osscar"', "true"])
def test_a_body_that_is_no_object_is_refused(content: str, refusing_api: Api) -> None:
    (error,) = refusing_api.refused(content)["errors"]
    assert (error["field"], error["reason"]) == ("body", "this is not a JSON object.")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_json_that_is_not_declared_as_json_is_refused_with_the_header_to_send(
    kind: str, refusing_api: Api, body: Change
) -> None:
    # What `curl -d` sends when nothing is said about it.
    with refusing_api.unchanged():
        response = refusing_api.client.post("/jobs", json=body(), headers={"Content-Type": kind})
    problem = problem_of(response, 415)
    assert problem["type"] == "/problems/not-json"
    assert "`Content-Type: application/json`" in problem["detail"]


def _chunks(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 1000):
        yield b" " * 1000


def test_a_body_over_the_limit_is_refused_by_the_length_it_declares(refusing_api: Api) -> None:
    problem = refusing_api.refused(b" " * (refusing_api.settings.max_body_bytes + 1), status=413)
    assert problem["type"] == "/problems/body-too-large"
    assert problem["detail"] == f"A request has at most {refusing_api.settings.max_body_bytes} bytes here."


def test_a_body_over_the_limit_is_refused_by_the_bytes_that_come(refusing_api: Api) -> None:
    for path in ("/jobs", "/estimates"):
        with refusing_api.unchanged():
            response = refusing_api.client.post(
                path,
                content=_chunks(refusing_api.settings.max_body_bytes + 1000),
                headers={"Content-Type": "application/json"},
            )
            assert "content-length" not in response.request.headers
            assert problem_of(response, 413)["type"] == "/problems/body-too-large"


def test_a_body_just_within_the_limit_is_read(refusing_api: Api) -> None:
    assert (
        refusing_api.refused(b" " * refusing_api.settings.max_body_bytes, status=400)["type"]
        == "/problems/malformed-json"
    )


@pytest.mark.parametrize("depth", [9, 100, 900])
def test_a_body_that_is_nested_too_deeply_is_refused_without_telling_it_back(
    depth: int, refusing_api: Api, body: Change
) -> None:
    for opened, closed in (("[", "]"), ('{"a": ', "}")):
        nested = opened * depth + "1" + closed * depth
        for content in (nested, json.dumps(body()).replace('"osscar"', nested)):
            (error,) = refusing_api.refused(content)["errors"]
            assert (error["field"], error["value"]) == ("body", None)
            assert error["reason"] == "this is nested deeper than 8 levels."


def test_a_body_that_is_nested_as_deeply_as_may_be_is_told_what_else_is_wrong(
    refusing_api: Api, body: Change
) -> None:
    (error,) = refusing_api.refused(json.dumps(body()).replace('"osscar"', "[" * 7 + "]" * 7))["errors"]
    assert error["field"] == "method"


@pytest.mark.parametrize("path", ["/jobs?model=" + "m" * 5000, "/" + "n" * 5000, "/jobs?" + "limit=1&" * 600])
def test_an_address_that_is_too_long_is_refused(path: str, refusing_api: Api) -> None:
    problem = problem_of(refusing_api.client.get(path), 414)
    assert problem["type"] == "/problems/uri-too-long"
    assert "4096 bytes" in problem["detail"]


@pytest.mark.parametrize("headers", [{f"x-{number}": "1" for number in range(101)}, {"x": "1" * 9000}])
def test_headers_that_are_too_many_or_too_long_are_refused(
    headers: dict[str, str], refusing_api: Api
) -> None:
    problem = problem_of(refusing_api.client.get("/jobs", headers=headers), 431)
    assert problem["type"] == "/problems/headers-too-large"
    assert "100 headers" in problem["detail"]


def test_the_longest_name_fits_into_an_address(refusing_api: Api) -> None:
    # Two bytes and six characters of a query each.
    assert refusing_api.client.get("/jobs", params={"model": "é" * 512, "limit": 1}).status_code == 200


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "this is empty."),
        ("k" * 256, "this is longer than 255 characters."),
        ("a b", "this holds spaces or characters beyond ASCII."),
    ],
)
def test_an_idempotency_key_that_cannot_be_kept_is_refused(
    key: str, reason: str, refusing_api: Api, body: Change
) -> None:
    (error,) = refusing_api.refused(body(), **{"Idempotency-Key": key})["errors"]
    assert (error["field"], error["value"], error["reason"]) == ("Idempotency-Key", key, reason)


@pytest.mark.parametrize("path", ["/nowhere", "/jobs/x/y/z", "/static/nothing.css"])
def test_a_path_where_nothing_is_answers_a_problem(path: str, refusing_api: Api) -> None:
    problem = problem_of(refusing_api.client.get(path), 404)
    assert problem["type"] == "about:blank"
    assert problem["detail"] == f"There is nothing at {path}. See /docs for what there is."


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/jobs", "GET, POST"),
        ("/jobs/1/cancel", "POST"),
        ("/healthz", "GET"),
        ("/static/secateur.css", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_answers_a_problem_and_which_are(
    path: str, allowed: str, refusing_api: Api
) -> None:
    response = refusing_api.client.delete(path)
    problem = problem_of(response, 405)
    assert (problem["type"], problem["title"]) == ("about:blank", "Method Not Allowed")
    assert response.headers["allow"] == allowed
