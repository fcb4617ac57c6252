"""What a worker tells Prometheus of the jobs that it runs."""

import time
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from jobs.states import Stage

STAGE_BUCKETS: Final = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)


class WorkerMetrics:
    """The metrics of one worker process, which may run several jobs at a time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.jobs = Counter(
            "secateur_worker_jobs",
            "Claims that ended, by how: succeeded, failed, cancelled, handed_back or lease_lost.",
            ["outcome", "method"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "secateur_worker_stage_seconds",
            "Seconds that jobs spent in a stage before they went on to the next or succeeded.",
            ["stage", "method"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self.layer_tokens = Counter(
            "secateur_worker_layer_tokens",
            "Tokens that went through a decoder layer, once for each layer.",
            ["method"],
            registry=self.registry,
        )
        self.peak_bytes = Gauge(
            "secateur_worker_job_peak_bytes",
            "The most memory that the job took which runs, or ran last: on the host, and by tensors on a GPU.",
            ["memory"],
            registry=self.registry,
        )
        Gauge(
            "secateur_worker_renewal_age_seconds",
            "Seconds since the lease of the running job was renewed; 0 if none runs.",
            registry=self.registry,
        ).set_function(self._renewal_age)
        self.claims: set[ClaimMetrics] = set()

    def _renewal_age(self) -> float:
        now = time.monotonic()
        return max((now - claim.renewed_at for claim in tuple(self.claims)), default=0.0)


class ClaimMetrics:
    """What one claim of a job adds to its worker's metrics, while it lasts."""

    def __init__(self, worker: WorkerMetrics, method: str) -> None:
        self._worker = worker
        self._method = method
        self._stage = Stage.LOADING
        self._layer_tokens = 0
        self.renewed_at = self._since = time.monotonic()
        worker.peak_bytes.clear()

    def __enter__(self) -> Self:
        self._worker.claims.add(self)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._worker.claims.discard(self)

    def renewed(self) -> None:
        self.renewed_at = time.monotonic()

    def enter(self, stage: Stage) -> None:
        """Count the stage that was left, if this is another."""
        if stage is not self._stage:
            self._leave()
            self._stage = stage

    def use(self, usage: dict[str, Any]) -> None:
        """Take over what the child says it has taken so far; None is what it has none of."""
        layer_tokens = usage["layer_tokens"]
        self._worker.layer_tokens.labels(self._method).inc(layer_tokens - self._layer_tokens)
        self._layer_tokens = layer_tokens
        for memory in ("host", "device"):
            if usage[f"{memory}_bytes"] is not None:
                self._worker.peak_bytes.labels(memory).set(usage[f"{memory}_bytes"])

    def end(self, outcome: str) -> None:
        """Count how it ended; the last stage counts if nothing broke it off."""
        if outcome == "succeeded":
            self._leave()
        self._worker.jobs.labels(outcome.replace(" ", "_"), self._method).inc()

    def _leave(self) -> None:
        now = time.monotonic()
        self._worker.stage_seconds.labels(self._stage, self._method).observe(now - self._since)
        self._since = now
