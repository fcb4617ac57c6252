"""The API put together."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from api import authentication, problems
from api.body_limit import BodyLimit
from api.request_ids import RequestIds
from api.request_rates import RequestRates
from api.routes import dashboard, estimates, health, jobs, results
from jobs.database import connect
from jobs.queue import WakeUps, make_celery
from jobs.settings import Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)


def create_app(settings: Settings) -> FastAPI:
    """Build the API for one database and one broker."""
    app = FastAPI(
        title="Secateur",
        summary="Makes language models smaller",
        lifespan=_lifespan,
    )
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.middleware("http")(_restrict_pages)
    app.add_middleware(RequestIds)
    failures = [problems.InternalError, problems.DatabaseUnreachableError]
    app.include_router(health.router, responses=problems.responses(*failures))
    for module in (jobs, estimates, results, dashboard):
        app.include_router(module.router, responses=problems.responses(*failures, *authentication.REFUSALS))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    app.state.engine = connect(settings)
    app.state.rates = RequestRates()
    celery = make_celery(settings)
    # By default a broker that is down is tried for six seconds, which the one who posted would have to wait.
    celery.conf.broker_transport_options["max_retries"] = 0
    app.state.wake_ups = WakeUps(celery)
    yield
    app.state.engine.dispose()


async def _restrict_pages(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    # FastAPI's own documentation pages bring scripts from a CDN.
    if request.url.path not in ("/docs", "/redoc"):
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
