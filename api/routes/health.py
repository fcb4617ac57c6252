"""Whether the service lives, and whether it can work."""

from fastapi import APIRouter, Response, status

from api.dependencies import Database, Wake
from api.schemas import Readiness
from jobs.store import ping

router = APIRouter(tags=["health"])


@router.get("/healthz")
def live() -> dict[str, str]:
    """Answer as long as this process does."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "The database is away"}})
def ready(database: Database, wake: Wake, response: Response) -> Readiness:
    """Say whether jobs can be accepted: only the database is needed, without the broker they merely start later."""
    readiness = Readiness(
        database="ok" if ping(database) else "unreachable", broker="ok" if wake.reachable() else "unreachable"
    )
    if readiness.database != "ok":
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return readiness
