"""What a worker does to a job, without pruning anything."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from jobs import store
from jobs.models import Job
from jobs.store import Event, Lease

OUT_OF_MEMORY = {
    "type": "/problems/out-of-memory",
    "title": "Out of memory",
    "status": 507,
    "detail": "The pruning process was killed by signal 9.",
}


class PretendWorker:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def start(self, job_id: str) -> Lease:
        lease = store.claim(self.engine, UUID(job_id), "worker-1", 60)
        assert lease is not None
        return lease

    def report(self, lease: Lease, kind: str, **data: Any) -> None:
        store.record(self.engine, lease, [Event(kind, data)])

    def succeed(self, job_id: str, **changes: Any) -> Job:
        lease = self.start(job_id)
        result: dict[str, Any] = {
            "perplexity_before": 20.0,
            "perplexity_after": 25.0,
            "parameters_before": 1000,
            "parameters_after": 900,
            "cut": {"intermediate_size_before": 256, "intermediate_size_after": 128},
            "artifact": {
                "name": "pruned/tiny",
                "location": "/registry/pruned/tiny",
                "bytes": 3600,
                "files": [{"path": "config.json", "bytes": 3600, "sha256": "0" * 64}],
            },
            "dtype": "float32",
        }
        return store.succeed(self.engine, lease, **result | changes)

    def fail(self, job_id: str) -> Job:
        return store.fail(self.engine, self.start(job_id), OUT_OF_MEMORY)
