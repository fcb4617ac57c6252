"""How many requests a key may make in a minute."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class RequestRates:
    """Counts the requests of each key, in this process alone: no request waits for another server to be counted."""

    def __init__(self) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def wait_seconds(self, name: str, per_minute: int) -> int:
        """Count a request.

        Returns:
            0 if it may be answered, else after how many seconds the next one may.
        """
        limit = RateLimitItemPerMinute(per_minute)
        if self._window.hit(limit, name):
            return 0
        reset = self._window.get_window_stats(limit, name).reset_time
        return max(1, math.ceil(reset - time.time()))
