"""Celery's Redis result backend, as far as the service wants it."""

from typing import Any

from celery.backends.redis import RedisBackend


class ChordBackend(RedisBackend):  # type: ignore[misc]  # Celery is not typed
    """Counts in Redis how many tasks of a chord are done, and listens for nothing.

    Who publishes a chord would otherwise subscribe to each of its tasks, in a thread of its own, and remember each for
    a result that never comes: tasks here have none.
    """

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:  # noqa: ARG002  Celery's
        return result
