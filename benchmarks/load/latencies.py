"""Times of many requests, told by their median and their tail."""

from collections.abc import Sequence
from math import ceil


def in_milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)

    def percentile(share: float) -> float:
        return round(ordered[ceil(share * len(ordered)) - 1] * 1000, 1)

    return {"count": len(ordered), "p50": percentile(0.5), "p99": percentile(0.99), "max": percentile(1)}
