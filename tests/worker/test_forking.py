"""The process that forks the children: it may die, and so may who asked it."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jobs.states import State
from tests.worker.conftest import Bench, eventually
from worker.forking import READY, Forked, ForkServer, ask
from worker.supervisor import run_job

AS_IF_A_DEVICE_HAD_BEEN_TOUCHED = """
import torch
torch.cuda._is_in_bad_fork = lambda: True
from worker.fork_server import main
main()
"""


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    """Not the other tests', because some of these kill it."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def child(fork_server: ForkServer) -> Iterator[Forked]:
    """One that waits for its assignment."""
    forked = fork_server.fork("worker.child")
    yield forked
    forked.kill()
    forked.close()


def test_neither_ctrl_c_nor_the_stop_of_a_whole_group_ends_a_child(child: Forked) -> None:
    process = psutil.Process(child.pid)
    for number in (signal.SIGINT, signal.SIGTERM):
        process.parent().send_signal(number)
        process.send_signal(number)
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(timeout=0.5)
    # The one end that is not a kill.
    child.stdin.close()
    assert child.wait() == 1


def test_a_child_outlives_a_fork_server_that_was_killed_and_can_be_killed(
    fork_server: ForkServer, child: Forked
) -> None:
    process = psutil.Process(child.pid)
    killed = process.parent()
    killed.kill()
    assert child.wait() is None
    assert process.is_running()
    child.kill()
    eventually(lambda: not process.is_running())
    another = fork_server.fork("worker.child")
    assert psutil.Process(another.pid).ppid() != killed.pid
    another.kill()
    assert another.wait() == -signal.SIGKILL
    another.close()


def test_a_job_goes_on_without_the_fork_server(
    bench: Bench, tiny_llama: Path, fork_server: ForkServer
) -> None:
    job_id = bench.submit(tiny_llama, samples=200)
    with bench.running(job_id) as child:
        child.parent().kill()
        assert bench.job(job_id).state is State.RUNNING
    assert bench.job(job_id).state is State.SUCCEEDED


def test_children_end_with_their_fork_server(fork_server: ForkServer, child: Forked) -> None:
    process = psutil.Process(child.pid)
    fork_server.close()
    eventually(lambda: not process.is_running())


def test_a_child_begins_again_where_a_device_was_touched_before_the_fork() -> None:
    control, theirs = socket.socketpair()
    command = [sys.executable, "-c", AS_IF_A_DEVICE_HAD_BEEN_TOUCHED, str(theirs.fileno())]
    with control, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as server:
        theirs.close()
        assert control.recv(1) == READY
        child = ask(control, "worker.child")
        assert child is not None
        process = psutil.Process(child.pid)
        eventually(lambda: process.cmdline()[-2:] == ["-m", "worker.child"])
        # It is the child it was: at the same standard input, at the same leash.
        child.stdin.close()
        assert child.wait() == 1
        child.close()
        control.shutdown(socket.SHUT_RDWR)
        assert server.wait(timeout=20) == 0


def test_a_worker_that_cannot_start_children_leaves_the_job_to_others(
    bench: Bench, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    job_id = bench.submit(tiny_llama)
    with pytest.raises(ChildProcessError, match="ended at once"):
        run_job(replace(bench.workplace, fork_server=ForkServer()), job_id)
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (State.QUEUED, 0)
