"""What browsers are told with every answer."""

import httpx
import pytest
from starlette.testclient import TestClient

from api.application import create_app
from api.page_restrictions import HEADERS
from jobs.settings import Settings
from tests.api.conftest import Api


def restrictions(answer: httpx.Response) -> dict[str, str | None]:
    return {name: answer.headers.get(name) for name in HEADERS}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/docs", 200),
        ("/jobs", 200),
        ("/static/secateur.css", 200),
        ("/?cursor=x", 422),
        ("/jobs/none", 422),
        ("/nothing", 404),
        ("/" + "n" * 5000, 414),
    ],
)
def test_no_answer_runs_scripts_or_is_shown_by_another_site(
    path: str, status: int, refusing_api: Api
) -> None:
    answer = refusing_api.client.get(path)
    assert answer.status_code == status
    assert restrictions(answer) == HEADERS


def test_nor_does_one_without_a_key_or_one_of_a_service_that_failed(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"require_api_keys": True}))

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError

    with TestClient(app) as client:
        answers = [client.get("/"), client.get("/broken")]
    assert [answer.status_code for answer in answers] == [401, 500]
    for answer in answers:
        assert restrictions(answer) == HEADERS


def test_the_policy_is_strict() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert {"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert "unsafe" not in policy
    assert "script-src" not in policy


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
def test_no_page_brings_scripts_from_elsewhere(path: str, refusing_api: Api) -> None:
    assert refusing_api.client.get(path).status_code == 404
