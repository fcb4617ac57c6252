"""What a worker published comes out again on the command line, without any service."""

import json
from pathlib import Path

from jobs.states import State
from tests.cli.invoking import invoke
from tests.worker.conftest import Bench


def test_a_jobs_checkpoint_is_reproduced_bit_for_bit(bench: Bench, tiny_llama: Path) -> None:
    # The worker may share its search with others; the command has none.
    formats = ["safetensors", "gguf"]
    job_id = bench.submit(tiny_llama, "depth", options={"parallelism": 2}, formats=formats)
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert job.artifact is not None
    assert "model-F32.gguf" in {file["path"] for file in job.artifact["files"]}
    said = json.loads(invoke("reproduce", job.artifact["location"], "--json").stdout)
    assert said == {"reproduced": True, "files": [], "numbers": [], "conditions": []}
