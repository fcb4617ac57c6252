"""Which methods a path answers."""

from starlette.requests import Request
from starlette.routing import Match, Mount

READS = ("GET", "HEAD")
_METHODS = (*READS, "POST", "PUT", "PATCH", "DELETE")


def allowed_methods(request: Request) -> str:
    """Give the `Allow` header of a 405.

    Starlette's own names the methods of the first route with this path, and two routes may share one.
    """
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    answered = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    # What is mounted are files.
    return ", ".join(answered or READS)
