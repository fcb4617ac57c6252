"""What the database knows, as metrics: the same from every process of the API."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.database import Engine
from jobs.states import State
from jobs.store import Counts, count_jobs

METHODS: Final = ("osscar", "depth")
EVENTS: Final = {
    ("secateur_claims", "claimed"): "Jobs that a worker took; less the hand-backs, the attempts.",
    ("secateur_hand_backs", "handed_back"): "Jobs that a worker gave back because it was shut down.",
    ("secateur_lease_losses", "lease_expired"): "Jobs that were taken from a worker because it was silent.",
}
"""What is told of events of a kind, and under which name."""


class JobMetrics(Collector):
    """Asks the database at every scrape, and leaves out what it alone knows while it is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        counts = count_jobs(self._engine)
        yield GaugeMetricFamily(
            "secateur_database_up", "Whether the database answers.", value=float(counts is not None)
        )
        if counts is not None:
            yield _jobs(counts)
            yield GaugeMetricFamily(
                "secateur_queue_age_seconds",
                "For how long the job that waits longest could have been claimed; 0 if none waits.",
                value=counts.queue_age_seconds,
            )
            yield GaugeMetricFamily(
                "secateur_expired_leases",
                "Running jobs whose worker is silent and that the reconciler has not moved on yet.",
                value=counts.expired_leases,
            )
            for (name, kind), meaning in EVENTS.items():
                yield _events(counts, name, kind, meaning)


def _jobs(counts: Counts) -> Metric:
    jobs = GaugeMetricFamily("secateur_jobs", "Jobs by state and method.", labels=["state", "method"])
    for state in State:
        for method in METHODS:
            jobs.add_metric([state, method], counts.jobs[state, method])
    return jobs


def _events(counts: Counts, name: str, kind: str, meaning: str) -> Metric:
    events = CounterMetricFamily(name, meaning, labels=["method"])
    for method in METHODS:
        events.add_metric([method], counts.events[kind, method])
    return events
