"""Whether checkpoints can be published, as who submits a job has to know."""

import time

from registry.opening import Registry

LOOK_EVERY_SECONDS = 5


class Writability:
    """Tries now and then, not for every job: a file made and deleted takes as long as all other checks."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._good_until = -1.0

    def require(self) -> None:
        """Check that the registry can be written to, or could some seconds ago.

        Raises:
            NotWritableError: with the system's own words.
        """
        if time.monotonic() > self._good_until:
            self._registry.require_writable()
            self._good_until = time.monotonic() + LOOK_EVERY_SECONDS
