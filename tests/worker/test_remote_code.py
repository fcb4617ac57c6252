"""A job whose model brings code of its own, run by the real child process."""

from pathlib import Path

from jobs.states import State
from tests.pruning_core.published_recipes import trust
from tests.tiny_published import make_published, mark_import
from tests.worker.conftest import Bench


def test_a_job_in_place_needs_the_workers_own_allow_list(bench: Bench, models: Path, tmp_path: Path) -> None:
    folder = make_published("chatglm", models / tmp_path.name)
    marker = mark_import(folder)
    refused = bench.submit(folder, "depth", remote_code="in_place")
    bench.run(refused)
    error = bench.job(refused).error
    assert error is not None
    assert error["type"] == "/problems/untrusted-code"
    assert not marker.exists()

    allowed = bench.settings.model_copy(update={"trusted_remote_code": tuple(trust(folder))})
    trusting = Bench(bench.engine, allowed, bench.workplace.fork_server)
    accepted = trusting.submit(folder, "depth", remote_code="in_place")
    trusting.run(accepted)
    job = trusting.job(accepted)
    assert job.state is State.SUCCEEDED, job.error
    assert marker.exists()
    assert job.artifact is not None
    assert "modeling_chatglm.py" in {file["path"] for file in job.artifact["files"]}


def test_a_job_of_a_twin_gives_the_native_family(bench: Bench, models: Path, tmp_path: Path) -> None:
    folder = make_published("deepseek", models / tmp_path.name)
    marker = mark_import(folder)
    job_id = bench.submit(folder, "depth")
    bench.run(job_id)
    job = bench.job(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert job.parameters_before == 179_040
    assert not marker.exists()
