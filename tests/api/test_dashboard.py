"""The page that people look at, in a real browser."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine

from jobs import store
from jobs.api_keys import Scope
from jobs.database import connect
from jobs.settings import Settings
from tests.api.conftest import Api, Change
from tests.api.dashboard_rows import PLANTED, fill, plant
from tests.api.pretend_worker import PretendWorker
from tests.api.running import running_api

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}; on Debian or Ubuntu: apt install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pip install 'secateur[dev]' brings playwright"
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def jobs(module_settings: Settings) -> list[str]:
    engine = connect(module_settings)
    ids = fill(engine)
    engine.dispose()
    return ids


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(browser: "Browser", running_url: str, jobs: list[str], complaints: list[str]) -> Iterator["Page"]:
    """The dashboard at the size of a desktop; what the browser complains of fails the test."""
    page = browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]  # playwright types a TypedDict
    # A violation of the content security policy is an error on the console.
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(running_url)
    yield page
    page.close()
    assert complaints == []


@pytest.mark.parametrize(("key", "status"), [(True, 200), (False, 401)])
def test_where_keys_are_required_the_browser_asks_for_one(
    browser: "Browser", settings: Settings, engine: Engine, tmp_path: Path, key: bool, status: int
) -> None:
    made = store.create_key(engine, "person", [Scope.READ], max_queued_jobs=1, requests_per_minute=100)
    credentials = {"username": "anybody", "password": made.secret if key else "sec_wrong"}
    guarded = settings.model_copy(update={"require_api_keys": True})
    with (
        running_api(guarded, tmp_path / "api.log") as url,
        browser.new_context(http_credentials=credentials) as context,  # type: ignore[arg-type]  # as above
    ):
        answer = context.new_page().goto(url)
        assert answer is not None
        assert answer.status == status


def rows(page: "Page") -> list[str]:
    return [" ".join(row.split()) for row in page.locator("tbody tr").all_inner_texts()]


def test_the_newest_job_comes_first_and_links_to_all_about_it(page: "Page", jobs: list[str]) -> None:
    links = page.locator("tbody tr a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert links == [f"/jobs/{job_id}" for job_id in jobs]


def test_it_shows_what_each_pruning_cost(page: "Page") -> None:
    *_, shortened, narrowed = rows(page)
    for fact in (
        "SmolLM2-135M-Instruct",
        "osscar 0.25",
        "21.61 → 30.12",
        "× 1.394, wikitext2",
        "1536 → 1152 channels",
    ):
        assert fact in narrowed
    assert "134.5 M → 114.6 M" in narrowed
    assert "14.8 %" in narrowed
    for fact in (
        "Llama-2-7b-chat-hf",
        "depth 0.1",
        "6.94 → 8.14",
        "without layers 11–13 of 32",
        "6.74 B → 6.13 B",
    ):
        assert fact in shortened


def test_it_shows_how_far_each_job_is(page: "Page") -> None:
    queued, running, failed, cancelled, *succeeded = rows(page)
    assert "queued" in queued
    assert "tiny" in queued
    assert "running" in running
    assert "pruning, 42 %, 6 min left" in running
    assert "5.70 → …" in running
    assert "failed" in failed
    assert "Out of memory" in failed
    assert "cancelled" in cancelled
    assert all("succeeded" in row for row in succeeded)


def test_a_planted_script_is_text_and_does_not_run(page: "Page") -> None:
    titles = page.locator("tbody a").evaluate_all("links => links.map(link => link.title)")
    assert PLANTED in titles
    assert page.get_by_text("<script>document.title='planted'").is_visible()
    assert page.locator("script, img").count() == 0
    assert page.title() == "Secateur"


class Tags(HTMLParser):
    """What a browser makes of a page: names and attributes of its tags, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.values: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.values.append(data)


@pytest.mark.parametrize(
    "planted",
    [
        PLANTED,
        "/m/' onmouseover='alert(1)",
        '/m/" onmouseover="alert(1)',
        "/m/{{ 7 * 7 }}{% for x in () %}",
        "/m/&lt;script&gt;&#34;",
    ],
)
def test_whatever_a_user_or_a_file_says_is_shown_as_it_is(planted: str, api: Api) -> None:
    plain = Tags(api.client.get("/").text)
    plant(api.engine, planted)
    page = Tags(api.client.get("/").text)
    # The model, its text, and both parts of its error.
    assert sum(planted in value for value in page.values) == 4
    assert [value for value in page.values if value == planted.rsplit("/", 1)[-1]]
    assert f"Title {planted}" in page.values
    assert page.names - plain.names <= {
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "small",
        "span",
        "time",
        "nav",
    }
    assert not {name for name in page.attributes if name.startswith("on")}


@pytest.mark.parametrize("width", [320, 1280])
def test_the_documentation_is_never_wider_than_the_screen(width: int, page: "Page") -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{page.url}docs")
    assert page.get_by_text("POST /jobs", exact=True).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1280, 1920])
def test_the_page_is_never_wider_than_the_screen(width: int, page: "Page") -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("tbody tr").first.is_visible()


def test_on_a_phone_every_number_says_what_it_is(page: "Page") -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # playwright types a TypedDict
    before = "cell => getComputedStyle(cell, '::before').content"
    labels = page.locator("tbody tr").first.locator("td").evaluate_all(f"cells => cells.map({before})")
    assert '"PPL"' in labels
    assert '"Parameters"' in labels


def test_without_jobs_it_says_how_to_submit_one(api: Api) -> None:
    page = api.client.get("/").text
    assert "No jobs yet" in page
    assert "POST /jobs" in page


def test_a_checkpoint_on_the_hub_is_a_link(api: Api, body: Change, worker: PretendWorker) -> None:
    url = "https://huggingface.co/team/model/tree/0123"
    artifact = {"name": "team/model", "location": "team/model", "revision": "0123", "url": url}
    worker.succeed(api.submit(body()).json()["id"], artifact={**artifact, "bytes": 1, "files": []})
    assert f'<a href="{url}" rel="noreferrer">team/model</a>' in api.client.get("/").text
    assert api.client.get("/results").json()["items"][0]["revision"] == "0123"


def test_older_jobs_are_behind_a_link(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.dashboard.PAGE_SIZE", 4)
    ids = fill(api.engine)
    first = api.client.get("/").text
    assert [job_id for job_id in ids if job_id in first] == ids[:4]
    assert "Newest" not in first
    older = first.split('href="/?cursor=', 1)[1].split('"', 1)[0]
    second = api.client.get(f"/?cursor={older}").text
    assert [job_id for job_id in ids if job_id in second] == ids[4:]
    assert "Newest" in second
