"""The API's description as a page: what Swagger UI would show, without its scripts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from markupsafe import Markup, escape

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(directory=Path(__file__).parent.parent / "templates")

_BOUNDS = {
    "exclusiveMinimum": "above {:g}",
    "minimum": "at least {:g}",
    "exclusiveMaximum": "below {:g}",
    "maximum": "at most {:g}",
    "minLength": "at least {} character",
    "maxLength": "at most {} characters",
    "minItems": "at least {} item",
}


def _bounds(schema: Mapping[str, Any]) -> str:
    return "".join(f", {words.format(schema[key])}" for key, words in _BOUNDS.items() if key in schema)


def _marked(text: str) -> Markup:
    """Set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S704  after it was escaped


templates.env.filters |= {"bounds": _bounds, "marked": _marked}


@router.get("/docs", response_class=HTMLResponse)
def documentation(request: Request) -> HTMLResponse:
    """Show every operation and every schema of /openapi.json."""
    return templates.TemplateResponse(request, "documentation.html", {"api": request.app.openapi()})
