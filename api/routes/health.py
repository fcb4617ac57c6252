"""Whether the service lives, and whether it can work."""

from fastapi import APIRouter, Response, status

from api.dependencies import Broker, Database
from api.schemas import Readiness
from jobs.store import check_database

router = APIRouter(tags=["health"])


@router.get("/healthz")
def live() -> dict[str, str]:
    """Answer as long as this process does."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    response_model_exclude_none=True,
    responses={
        503: {"model": Readiness, "description": "The database is away, read-only or of another version"}
    },
)
def ready(database: Database, wake_ups: Broker, response: Response) -> Readiness:
    """Say whether jobs can be accepted, claimed and kept: the broker is not needed, without it they start later."""
    health = check_database(database)
    if health.state != "ok":
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(
        database=health.state, broker="ok" if wake_ups.reachable() else "unreachable", detail=health.detail
    )
