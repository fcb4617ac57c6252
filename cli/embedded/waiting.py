import time
from collections.abc import Callable

from cli.embedded.errors import NotReadyError


def wait_until(
    condition: Callable[[], bool], *, watch: Callable[[], None], seconds: float, failure: str
) -> None:
    """Ask again and again until `condition` holds, calling `watch` in between, which may raise to give up.

    Raises:
        NotReadyError: `seconds` went by; the message starts with `failure`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        watch()
        if time.monotonic() > deadline:
            raise NotReadyError(f"{failure} after {seconds:.0f} s")
        time.sleep(0.05)
