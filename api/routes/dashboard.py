"""The page that people look at."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from api.dependencies import After, Database
from api.problems import InvalidRequestError, responses
from api.schemas import JobSummary
from jobs import store

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(directory=Path(__file__).parent.parent / "templates")

PAGE_SIZE = 50


@router.get("/", response_class=HTMLResponse, responses=responses(InvalidRequestError))
def dashboard(request: Request, database: Database, after: After) -> HTMLResponse:
    """List what each pruning cost in perplexity, newest first."""
    page = store.list_jobs(database, limit=PAGE_SIZE, after=after)
    return templates.TemplateResponse(
        request,
        "dashboard.html",
        {
            "jobs": [JobSummary.of(job) for job in page.jobs],
            "next": page.next.encode() if page.next else None,
            "first_page": after is None,
        },
    )
