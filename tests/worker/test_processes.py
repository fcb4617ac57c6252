"""The processes themselves: who imports what, who dies with whom."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jobs.settings import Settings
from tests.worker.conftest import Bench, children_of, eventually
from worker.assignment import Assignment
from worker.forking import ForkServer

SUPERVISE = """
import sys
from uuid import UUID
from jobs.database import connect
from jobs.queue import ShareMessages, make_celery
from jobs.settings import Settings
from worker.supervisor import run_job
from worker.workplace import Workplace
settings = Settings()
messages = ShareMessages(make_celery(settings))
run_job(Workplace(connect(settings), settings, "test-worker", messages), UUID(sys.argv[1]))
"""


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SECATEUR_DATA_DIR": str(settings.data_dir),
        "SECATEUR_LOCAL_ROOTS": str(settings.local_roots[0]),
    }


def test_the_supervisor_starts_without_torch(settings: Settings) -> None:
    check = "import worker.app, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, env=environment(settings))


def test_the_child_dies_when_its_supervisor_is_killed_by_signal_9(
    bench: Bench, settings: Settings, slow_llama: Path
) -> None:
    job_id = bench.submit(slow_llama, samples=600)
    command = [sys.executable, "-c", SUPERVISE, str(job_id)]
    supervisor = psutil.Popen(command, env=environment(settings))
    eventually(lambda: bench.job(job_id).stage == "pruning", seconds=60)
    family = supervisor.children(recursive=True)
    assert any("worker.child" in process.cmdline() for process in family)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    eventually(lambda: not any(process.is_running() for process in family), seconds=5)


def test_the_children_know_no_way_to_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "planted")
    monkeypatch.setenv("REDIS_URL", "planted")
    fork_server = ForkServer()
    fork_server.start()
    environ = children_of(psutil.Process(), "worker.fork_server")[-1].environ()
    assert "TQDM_DISABLE" in environ
    assert "planted" not in environ.values()
    fork_server.close()


def test_what_goes_wrong_in_the_child_is_one_line_of_the_log_that_names_the_job(
    settings: Settings, tiny_llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "registry").write_text("no folder")
    assignment = Assignment(
        job_id="the-job",
        claim="the-job-1",
        checkpoint="pruned/the-job",
        attempt=2,
        log_format="json",
        request={
            "model": str(tiny_llama),
            "method": "osscar",
            "ratio": 0.5,
            "destination": {"kind": "local"},
        },
        registry_root=tmp_path / "registry",
        local_roots=[tiny_llama.parent],
        trusted_remote_code=[],
        allow_pickle=False,
        device="cpu",
        memory_budget=settings.memory_budget,
        work=tmp_path,
    )
    # Its standard input stays open: at its end the child would end too.
    with subprocess.Popen(
        [sys.executable, "-m", "worker.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(assignment.model_dump_json().encode() + b"\n")
        child.stdin.flush()
        told = json.loads(child.stdout.read())
        logged = json.loads(child.stderr.read())
    assert told["data"]["type"] == "/problems/internal"
    assert (logged["job_id"], logged["attempt"], logged["level"]) == ("the-job", 2, "error")
    assert logged["incident"] in told["data"]["detail"]
    assert "NotADirectoryError" in json.dumps(logged["exception"])
