"""What a worker works with."""

import threading
from dataclasses import dataclass, field

from sqlalchemy import Engine

from jobs.queue import ShareMessages
from jobs.settings import Settings
from worker.forking import ForkServer
from worker.metrics import WorkerMetrics


@dataclass(frozen=True, slots=True)
class Workplace:
    """One for each worker process.

    Attributes:
        engine: the job store's database.
        settings: of the worker.
        worker: who we are, for people.
        messages: tells other workers of shares of a job's search.
        fork_server: starts the children.
        metrics: what is told of the jobs that run here.
        stopping: set when this worker shuts down; jobs then go back to the queue and shares are left.
    """

    engine: Engine
    settings: Settings
    worker: str
    messages: ShareMessages
    fork_server: ForkServer = field(default_factory=ForkServer)
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    stopping: threading.Event = field(default_factory=threading.Event)
