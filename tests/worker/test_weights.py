"""Jobs whose model has weights that cannot be read, or only if the operator says so, run by the real child process."""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file

from jobs.states import State
from tests.tiny_models import make_tiny_llama
from tests.worker.conftest import Bench


def test_a_job_on_a_checkpoint_that_was_cut_short_says_which_file(
    bench: Bench, models: Path, tmp_path: Path
) -> None:
    folder = make_tiny_llama(models / tmp_path.name)
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 1)
    job_id = bench.submit(folder, "depth")
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] == "/problems/unreadable-model"
    assert "model.safetensors is cut short" in job.error["detail"]


def test_a_job_on_pickled_weights_needs_the_workers_own_leave(
    bench: Bench, models: Path, tmp_path: Path
) -> None:
    folder = make_tiny_llama(models / tmp_path.name)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused = bench.submit(folder, "depth")
    bench.run(refused)
    error = bench.job(refused).error
    assert error is not None
    assert error["type"] == "/problems/pickled-weights"

    allowed = bench.settings.model_copy(update={"allow_pickle": True})
    allowing = Bench(bench.engine, allowed, bench.workplace.fork_server)
    accepted = allowing.submit(folder, "depth")
    allowing.run(accepted)
    assert allowing.job(accepted).state is State.SUCCEEDED, allowing.job(accepted).error
