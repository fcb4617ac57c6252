"""What may happen to a service, each to a process that is picked at random."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import redis

STANDSTILL_SECONDS = 9.0
"""Longer than the lease of `soak`."""


class Faults:
    """Does harm to the service whose `secateur up` is `root`."""

    def __init__(self, root: psutil.Process, data_dir: Path, chance: random.Random) -> None:
        self._root = root
        self._socket = data_dir / "valkey" / "valkey.sock"
        self._chance = chance
        self._asleep: list[tuple[float, psutil.Process]] = []
        self.killed_children = 0

    def one(self) -> str:
        """Do one of them, and name it."""
        self.wake_sleepers()
        kinds: list[Callable[[], str]] = [
            self._kill_child,
            self._kill_worker,
            self._kill_worker,
            self._kill_fork_server,
            self._kill_every_worker,
            lambda: self._kill("the API", {"uvicorn"}),
            lambda: self._kill("beat", {"beat"}),
            lambda: self._kill("the reconciler", {"reconcile"}),
            self._restart_postgres,
            self._restart_redis,
            self._empty_redis,
            self._freeze,
            self._freeze,
        ]
        try:
            return self._chance.choice(kinds)()
        except (psutil.NoSuchProcess, IndexError):
            return "nobody was there"

    def wake_sleepers(self, *, all_of_them: bool = False) -> None:
        """Let those go on who stood still for long enough."""
        now = time.monotonic()
        for until, process in list(self._asleep):
            if all_of_them or now >= until:
                self._asleep.remove((until, process))
                if process.is_running():
                    process.resume()

    def family(self) -> list[psutil.Process]:
        return self._root.children(recursive=True)

    def named(self, *words: str) -> list[psutil.Process]:
        """Find the processes of the service with these words in their command lines."""
        found = []
        for process in self.family():
            try:
                if set(words) <= set(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                pass
        return found

    def _pick(self, *words: str) -> psutil.Process:
        return self._chance.choice(self.named(*words))

    def _kill(self, what: str, words: set[str]) -> str:
        self._pick(*words).kill()
        return f"killed {what}"

    def _kill_child(self) -> str:
        self._pick("worker.child").kill()
        self.killed_children += 1
        return "killed a child"

    def _kill_worker(self) -> str:
        return self._kill("a worker", {"worker", "jobs"})

    def _kill_fork_server(self) -> str:
        return self._kill("a fork server", {"worker.fork_server"})

    def _kill_every_worker(self) -> str:
        for process in self.named("worker", "jobs"):
            process.kill()
        return "killed every worker"

    def _freeze(self) -> str:
        words = self._chance.choice([("worker.child",), ("worker", "jobs")])
        process = self._pick(*words)
        process.suspend()
        self._asleep.append((time.monotonic() + STANDSTILL_SECONDS, process))
        return f"froze {'a child' if len(words) == 1 else 'a worker'}"

    def _restart_postgres(self) -> str:
        postmasters = [
            process
            for process in self.family()
            if process.name() == "postgres" and process.parent() and process.parent().name() != "postgres"
        ]
        # "Immediate": as in a crash, but without leaving memory behind.
        self._chance.choice(postmasters).send_signal(signal.SIGQUIT)
        return "restarted Postgres"

    def _restart_redis(self) -> str:
        servers = [process for process in self.family() if "valkey" in process.name()]
        self._chance.choice(servers).kill()
        return "restarted Redis"

    def _empty_redis(self) -> str:
        try:
            redis.Redis(unix_socket_path=os.fspath(self._socket)).flushall()
        except redis.ConnectionError:
            return "nobody was there"
        return "emptied Redis"
