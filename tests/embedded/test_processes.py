import io
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli.embedded.errors import ServiceFailedError
from cli.embedded.log import ServiceLog
from cli.embedded.processes import RestartPolicy, Service, Supervisor
from tests.embedded.conftest import alive, eventually


def shell(name: str, script: str, stop_seconds: float = 10) -> Service:
    return Service(name=name, command=["sh", "-c", script], stop_seconds=stop_seconds)


@pytest.fixture(autouse=True)
def _bystanders() -> None:
    """Other tests' servers are children of this process too."""
    global bystanders  # noqa: PLW0603  a fixture sets it for plain functions
    bystanders = set(psutil.Process().children(recursive=True))


bystanders: set[psutil.Process] = set()


def children() -> list[psutil.Process]:
    # The session's Postgres forks a backend or a worker now and then: whole families are left out.
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child not in bystanders and not bystanders.intersection(child.parents())
    ]


def watching(supervisor: Supervisor, condition: Callable[[], object]) -> Callable[[], object]:
    def check() -> object:
        supervisor.check()
        return condition()

    return check


def test_lines_carry_the_name_on_the_console_and_in_the_file(log: ServiceLog, console: io.StringIO) -> None:
    with Supervisor(log) as supervisor:
        supervisor.start(shell("api", "echo out; echo err >&2; printf 'half'; sleep 600"))
        supervisor.start(shell("worker", "printf 'caf\\303\\251 \\377 %0200d\\n' 0; sleep 600"))
        eventually(lambda: "err" in console.getvalue() and "caf" in console.getvalue())
    lines = console.getvalue().splitlines()
    assert "api        | out" in lines
    assert "api        | err" in lines
    assert "api        | half" in lines
    assert f"worker     | café \ufffd {'0' * 200}" in lines
    assert "\x1b" not in console.getvalue()
    assert "api        | out" in log.path.read_text().splitlines()


def test_in_the_file_our_own_lines_have_the_time_that_services_give_theirs(
    log: ServiceLog, console: io.StringIO
) -> None:
    log.say("Starting.")
    log.write("api", "2026-01-02T03:04:05.678901Z [info     ] queued")
    ours, theirs = log.path.read_text().splitlines()
    assert re.fullmatch(r"secateur   \| \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z Starting\.", ours)
    assert theirs == "api        | 2026-01-02T03:04:05.678901Z [info     ] queued"
    assert console.getvalue().splitlines()[0] == "secateur   | Starting."


def test_what_dies_is_started_again(log: ServiceLog, console: io.StringIO) -> None:
    with Supervisor(log, policy=RestartPolicy(first_delay=0.01)) as supervisor:
        supervisor.start(shell("api", "exec sleep 600"))
        (first,) = children()
        first.kill()
        eventually(watching(supervisor, lambda: [p for p in children() if p != first and alive(p)]))
        assert "api was killed by SIGKILL; starting it again" in console.getvalue()
    assert children() == []


def test_crash_loop_ends_everything_and_shows_the_last_lines(log: ServiceLog) -> None:
    with (  # noqa: PT012  the supervisor must be left inside
        pytest.raises(ServiceFailedError) as raised,
        Supervisor(log, policy=RestartPolicy(first_delay=0.01, failures=3)) as supervisor,
    ):
        supervisor.start(shell("postgres", "sleep 600"))
        supervisor.start(shell("api", "echo port 8000 is taken >&2; exit 3"))
        eventually(watching(supervisor, lambda: False))
    message = str(raised.value)
    assert message.startswith("api exited with 3, 3 times within 60 s")
    assert message.endswith("\nport 8000 is taken")
    assert str(log.path) in message
    assert children() == []


def test_waits_longer_after_every_failure() -> None:
    policy = RestartPolicy()
    assert [policy.delay(n) for n in range(1, policy.failures)] == [0.5, 1, 2, 4]


def test_rare_failures_never_add_up(log: ServiceLog, console: io.StringIO) -> None:
    policy = RestartPolicy(first_delay=0.01, failures=2, window=0.05)
    with Supervisor(log, policy=policy) as supervisor:
        supervisor.start(shell("api", "sleep 0.1; exit 1"))
        eventually(watching(supervisor, lambda: console.getvalue().count("starting it again") >= 3))


def test_stops_the_last_started_first_and_lets_each_finish(log: ServiceLog, console: io.StringIO) -> None:
    script = "trap 'sleep 0.1; echo finished; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    with Supervisor(log) as supervisor:
        for name in ("postgres", "api", "worker"):
            supervisor.start(shell(name, script))
        eventually(lambda: console.getvalue().count("up") == 3)
    finished = [line.split()[0] for line in console.getvalue().splitlines() if line.endswith("finished")]
    assert finished == ["worker", "api", "postgres"]


def test_stops_with_the_signal_asked_for(log: ServiceLog, console: io.StringIO) -> None:
    # Not a shell: one that was started with SIGINT ignored, as everything behind a `&` is, cannot trap it.
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit('got INT'))\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    with Supervisor(log) as supervisor:
        command = [sys.executable, "-c", script]
        supervisor.start(Service(name="db", command=command, stop_signal=signal.SIGINT))
        eventually(lambda: "up" in console.getvalue())
    assert "got INT" in console.getvalue()


DEAF = "trap '' TERM; echo up; while :; do sleep 0.01; done"


def test_kills_what_does_not_stop_in_time(log: ServiceLog, console: io.StringIO) -> None:
    with Supervisor(log) as supervisor:
        supervisor.start(shell("deaf", DEAF, stop_seconds=0.2))
        eventually(lambda: "up" in console.getvalue())
        started = time.monotonic()
    assert 0.2 <= time.monotonic() - started < 5
    assert children() == []


def test_kills_at_once_when_in_a_hurry(log: ServiceLog, console: io.StringIO) -> None:
    with Supervisor(log, hurry=lambda: True) as supervisor:
        supervisor.start(shell("deaf", DEAF, stop_seconds=60))
        eventually(lambda: "up" in console.getvalue())
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert children() == []


def test_takes_along_grandchildren_in_groups_of_their_own(log: ServiceLog) -> None:
    with Supervisor(log) as supervisor:
        supervisor.start(shell("worker", "setsid sleep 600 & sleep 601"))
        eventually(lambda: len(children()) == 3)
        family = children()
    # A killed process that nobody here is the parent of ends when the kernel gets to it.
    eventually(lambda: [process for process in family if alive(process)] == [])


def test_leaves_nothing_when_a_later_service_cannot_be_started(log: ServiceLog, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Supervisor(log) as supervisor:  # noqa: PT012  the supervisor must be left inside
        supervisor.start(shell("api", "sleep 600"))
        assert children()
        supervisor.start(Service(name="worker", command=["true"], cwd=tmp_path / "missing"))
    assert children() == []


def test_goes_on_when_nobody_reads_its_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = f"{sys.executable} -c \"print(('x' * 99 + '\\n') * 2000)\"; echo last; sleep 600"
    with (
        os.fdopen(writer, "w") as stream,
        ServiceLog(tmp_path / "secateur.log", stream) as log,
        Supervisor(log) as supervisor,
    ):
        supervisor.start(shell("api", script))
        eventually(lambda: "api        | last" in log.path.read_text())
    assert log.path.read_text().count("Nobody reads our output") == 1
