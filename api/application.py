"""The API put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, ProcessCollector

from api import authentication, problems
from api.body_limit import BodyLimit
from api.event_feed import EventFeed
from api.failures import Failures
from api.head_limit import HeadLimit
from api.http_metrics import HttpMetrics
from api.job_metrics import JobMetrics
from api.page_restrictions import PageRestrictions
from api.request_ids import RequestIds
from api.request_rates import RequestRates
from api.routes import dashboard, documentation, estimates, events, health, hub, jobs, metrics, results
from api.stop_signals import on_stop
from api.waking import Waking
from api.writability import Writability
from jobs.database import connect
from jobs.queue import WakeUps, make_celery
from jobs.settings import Settings
from registry.opening import open_catalog, open_registry


def create_app(settings: Settings) -> FastAPI:
    """Build the API for one database and one broker."""
    app = FastAPI(
        title="Secateur",
        summary="Makes language models smaller",
        lifespan=_lifespan,
        # FastAPI's own pages bring scripts from a CDN; ours has none.
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.metrics = CollectorRegistry()
    ProcessCollector(registry=app.state.metrics)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(Failures)
    app.add_middleware(HeadLimit)
    app.add_middleware(PageRestrictions)
    app.add_middleware(HttpMetrics, registry=app.state.metrics)
    app.add_middleware(RequestIds)
    failures = [
        problems.UriTooLongError,
        problems.HeadersTooLargeError,
        problems.InternalError,
        problems.DatabaseUnreachableError,
    ]
    app.include_router(documentation.router)
    app.include_router(health.router, responses=problems.responses(*failures))
    for module in (jobs, events, estimates, results, hub, metrics, dashboard):
        app.include_router(module.router, responses=problems.responses(*failures, *authentication.REFUSALS))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    app.state.engine = connect(settings)
    app.state.metrics.register(JobMetrics(app.state.engine))
    app.state.rates = RequestRates()
    app.state.writability = Writability(open_registry(settings.registry_root, settings.registry_url))
    app.state.catalog = open_catalog(settings.registry_root, settings.registry_url)
    celery = make_celery(settings)
    # By default a broker that is down is tried for six seconds, for each of the jobs that wait meanwhile.
    celery.conf.broker_transport_options["max_retries"] = 0
    app.state.wake_ups = WakeUps(celery)
    waking = app.state.waking = Waking(app.state.wake_ups)
    feed = app.state.feed = EventFeed(app.state.engine)
    async with feed.reading():
        with on_stop(feed.close):
            yield
    await run_in_threadpool(waking.close)
    app.state.engine.dispose()
