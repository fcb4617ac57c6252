"""Jobs as a dashboard would list them, in every state."""

from typing import Any

from sqlalchemy import Engine

from jobs import store
from jobs.models import Job
from tests.api.pretend_worker import PretendWorker

PLANTED = """/models/"></title></td><img src=x onerror="document.title='planted'"><script>document.title='planted'"""


def fill(engine: Engine) -> list[str]:
    """Write one job in each state, and give the ids from the newest on."""
    worker = PretendWorker(engine)
    small, large = "HuggingFaceTB/SmolLM2-135M-Instruct", "meta-llama/Llama-2-7b-chat-hf"
    narrowed = _submit(engine, small, "osscar", 0.25)
    worker.succeed(
        str(narrowed.id),
        perplexity_before=21.6081,
        perplexity_after=30.1236,
        parameters_before=134_515_008,
        parameters_after=114_608_448,
        cut={"intermediate_size_before": 1536, "intermediate_size_after": 1152},
    )
    shortened = _submit(engine, large, "depth", 0.1)
    worker.succeed(
        str(shortened.id),
        perplexity_before=6.9419,
        perplexity_after=8.139,
        parameters_before=6_738_415_616,
        parameters_after=6_131_265_536,
        cut={"removed_layers": [11, 12, 13], "layers_before": 32, "layers_after": 29},
    )
    cancelled = _submit(engine, small, "depth", 0.1)
    store.request_cancel(engine, cancelled.id)
    failed = _submit(engine, PLANTED, "osscar", 0.1)
    worker.fail(str(failed.id))
    running = _submit(engine, "Qwen/Qwen2.5-14B-Instruct", "osscar", 0.1)
    lease = worker.start(str(running.id))
    worker.report(lease, "stage", stage="pruning")
    worker.report(lease, "dense", perplexity=5.6986, parameters=14_770_033_664, dtype="bfloat16")
    worker.report(lease, "progress", fraction=0.42, eta_seconds=310)
    queued = _submit(engine, "/models/tiny/", "depth", 0.125)
    return [str(job.id) for job in (queued, running, failed, cancelled, shortened, narrowed)]


def plant(engine: Engine, text: str) -> None:
    """Write a job that failed, with `text` wherever others than the service have a say."""
    worker = PretendWorker(engine)
    job = _submit(engine, text, "osscar", 0.1, dataset=text)
    lease = worker.start(str(job.id))
    worker.report(lease, "dense", perplexity=5.0, parameters=1000, dtype="bfloat16")
    error = {"type": "/problems/x", "title": f"Title {text}", "status": 422, "detail": f"Detail {text}"}
    store.fail(engine, lease, error)


def _submit(engine: Engine, model: str, method: str, ratio: float, dataset: str = "wikitext2") -> Job:
    request: dict[str, Any] = {
        "model": {"id": model, "revision": None},
        "method": method,
        "ratio": ratio,
        "evaluation": {"dataset": dataset},
    }
    submission = store.submit(engine, request, model=model, method=method, ratio=ratio, dataset=dataset)
    return submission.job
