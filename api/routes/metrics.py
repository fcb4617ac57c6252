"""What Prometheus scrapes."""

from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from api.authentication import READ

router = APIRouter(tags=["health"], dependencies=[READ])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Give the service's metrics in the format of Prometheus: see docs/observability.md."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    registry = cast("CollectorRegistry", request.app.state.metrics)
    return Response(encode(registry), media_type=media_type)
