"""What nobody foresaw is answered with a problem, too."""

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import DatabaseUnreachableError, InternalError, respond
from jobs.store import ping, was_away

log = structlog.get_logger()


class Failures:
    """Answers and logs whatever exception comes this far.

    Starlette's own handler of exceptions is outside of all other middleware: its answers are not counted, lack the
    headers that are for all, and the server logs them without the request's id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log.exception("unexpected error", method=scope["method"], path=scope["path"])
            if started:
                # Only the server can still tell the client, by hanging up.
                raise
            response = await run_in_threadpool(_answer, Request(scope), error)
            await response(scope, receive, send)


def _answer(request: Request, error: Exception) -> Response:
    if was_away(error) or not ping(request.app.state.engine):
        return respond(
            DatabaseUnreachableError(
                "Try again in a few seconds. A POST /jobs that is sent again with the same Idempotency-Key is never "
                "carried out twice."
            ).body(),
            {"Retry-After": "5"},
        )
    request_id: str = request.state.request_id
    return respond(
        InternalError(f"Tell the operator: the API's log has more beside the request id {request_id}.").body()
    )
