"""Asking the Hub again when it is busy, broken or cut off.

`huggingface_hub` does so itself for the parts of a file, for half a minute at most, and for nothing else. Behind a
checkpoint that took hours stands more patience than that.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

import structlog
from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from registry.destination import HubDestination
from registry.hub.errors import HubError, away, refused, scrubbed, unusable

Answer = TypeVar("Answer")

WAITS_SECONDS = (1.0, 5.0, 15.0, 60.0, 180.0)
"""Before each time the Hub is asked again, unless it says itself for how long."""

SILENCE_SECONDS = 120
"""How long a connection may say nothing; the library would wait for ever."""

PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers that may be others in a while."""

DAMAGED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
"""What storage answers when what came is not what was announced."""

log = structlog.get_logger()


def patiently(
    destination: HubDestination, doing: str, ask: Callable[[], Answer], *, sends_file: bool = False
) -> Answer:
    """Ask the Hub, again and again while it may answer otherwise in a while.

    Args:
        destination: for errors.
        doing: what is asked, as in "the worker may not …".
        ask: asks; must be safe to be called again after an answer that got lost.
        sends_file: whether it sends a file's content, which can be damaged on its way.

    Raises:
        HubError: the Hub says no, or nothing.
    """
    waits = iter(WAITS_SECONDS)
    while True:
        get_session().timeout = SILENCE_SECONDS
        try:
            return ask()
        except HubError:
            raise
        except (HTTPError, OSError, RuntimeError, ValueError) as raised:
            error = _cause(raised)
            wait = next(waits, None) if _may_pass(error, sends_file=sends_file) else None
            if wait is None:
                raise _final(error, destination, doing) from raised
            wait = max(wait, _retry_after(error))
            log.warning("the Hub is asked again", doing=doing, error=scrubbed(str(error)), seconds=wait)
        time.sleep(wait)


def _cause(raised: Exception) -> Exception:
    """What befell a file's content: the library wraps it."""
    if isinstance(raised, RuntimeError) and isinstance(raised.__cause__, Exception):
        return raised.__cause__
    return raised


def _may_pass(error: Exception, *, sends_file: bool) -> bool:
    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status in PASSING or (sends_file and status in DAMAGED)
    # The connection; or, as hf_xet says everything, a RuntimeError. A ValueError is an answer the library cannot use.
    return not isinstance(error, ValueError)


def _final(error: Exception, destination: HubDestination, doing: str) -> HubError:
    if isinstance(error, HfHubHTTPError) and error.response.status_code not in PASSING:
        return refused(error, destination, doing)
    if isinstance(error, ValueError):
        return unusable(error, destination, doing)
    return away(error, destination, doing)


def _retry_after(error: Exception) -> float:
    """Seconds that the Hub says to wait; none if it does not say, or says a date."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    said = error.response.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else 0
