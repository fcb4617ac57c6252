"""No request with an endless address or endless headers is looked at."""

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import HeadersTooLargeError, ProblemError, UriTooLongError, respond

MAX_TARGET_BYTES = 4096
MAX_HEADERS = 100
MAX_HEADER_BYTES = 8192


class HeadLimit:
    """Answers 414 and 431.

    Uvicorn, which reads at most 16 KiB until a request's headers end, does not count them and answers in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await respond(refusal.body())(scope, receive, send)


def _refusal(scope: Scope) -> ProblemError | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return UriTooLongError(f"A path and its query have at most {MAX_TARGET_BYTES} bytes here.")
    headers = scope["headers"]
    if (
        len(headers) > MAX_HEADERS
        or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES
    ):
        return HeadersTooLargeError(
            f"A request has at most {MAX_HEADERS} headers here, and {MAX_HEADER_BYTES} bytes in them."
        )
    return None
