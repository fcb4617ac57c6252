"""The page that people look at."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from api.authentication import READ
from api.dependencies import After, Database
from api.problems import InvalidRequestError, responses
from api.schemas import JobSummary
from jobs import store
from pruning_core.depth.cuts import name_layers

router = APIRouter(include_in_schema=False, dependencies=[READ])
templates = Jinja2Templates(directory=Path(__file__).parent.parent / "templates")

PAGE_SIZE = 50
_BILLION, _MILLION = 1e9, 1e6
_LONGEST_IN_MINUTES = 120


def _last_part(name: str) -> str:
    """What tells one model or text from another in a narrow column; the whole name is in its title."""
    return name.rstrip("/").rsplit("/", 1)[-1] or name


def _amount(count: int) -> str:
    return f"{count / _BILLION:.2f} B" if count >= _BILLION else f"{count / _MILLION:.1f} M"


def _time_left(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return f"{minutes} min left" if minutes <= _LONGEST_IN_MINUTES else f"{minutes / 60:.0f} h left"


templates.env.filters |= {
    "last_part": _last_part,
    "amount": _amount,
    "time_left": _time_left,
    "layers": name_layers,
}


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
