"""A process that has imported torch and forks a child for each job, which so starts in milliseconds instead of seconds.

It runs no job itself and never touches a device, so that a child begins with nothing but imported modules. One thread
and one loop: a process that forks must not have others.
"""

import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import setproctitle
import torch

from worker import child, share_child
from worker.forking import READY, STATUS

Main = Callable[[], None]
MODULES: dict[str, Main] = {module.__name__: module.main for module in (child, share_child)}
MAX_NAME_BYTES = 64


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    leash: socket.socket


class Server:
    """Forks at every request on its control socket, until that is closed.

    A request is the name of a module and three files: the child's standard input, its standard output, and a leash.
    Down the leash goes the child's process id at first and its exit code at last. Who closes his end of it has the
    child's whole process group killed, so that what was forked for somebody who is gone does not stay.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._ended, wakes = socket.socketpair()
        for end in (self._ended, wakes):
            end.setblocking(False)
        self._wakes = wakes
        self._selector.register(self._ended, selectors.EVENT_READ)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        # A handler, for without one no signal wakes the loop.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # A terminal and systemd send them to everybody; the supervisor hears them, and says what becomes of its jobs.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def serve(self) -> Main | None:
        """Serve requests.

        Returns:
            In each child what it has to do, in this process None once nobody can ask any more.
        """
        with suppress(BrokenPipeError):  # nobody waits any more, and the loop will hear so
            self._control.send(READY)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    name, files = self._receive()
                    if not name:
                        self._kill_all()
                        return None
                    main = self._fork(name.decode(), files)
                    if main is not None:
                        return main
                elif key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._report_ended()
                else:
                    _kill(key.data)
                    self._selector.unregister(key.fileobj)

    def _receive(self) -> tuple[bytes, list[int]]:
        """Read a request; an empty one is the end."""
        with suppress(ConnectionResetError):  # who asked died before he read the greeting
            name, files, _flags, _address = socket.recv_fds(self._control, MAX_NAME_BYTES, 3)
            return name, files
        return b"", []

    def _fork(self, name: str, files: list[int]) -> Main | None:
        stdin, stdout, leash = files
        pid = os.fork()
        if pid == 0:
            self._forget()
            os.setsid()
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            for file in files:
                os.close(file)
            return _begin(name)
        os.close(stdin)
        os.close(stdout)
        forked = _Child(pid, socket.socket(fileno=leash))
        forked.leash.send(STATUS.pack(pid))
        self._children[pid] = forked
        self._selector.register(forked.leash, selectors.EVENT_READ, forked)
        return None

    def _forget(self) -> None:
        """In a child: leave what is the server's, so that nobody's end of a leash stays open here."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (
            self._control,
            self._ended,
            self._wakes,
            *(each.leash for each in self._children.values()),
        ):
            end.close()

    def _report_ended(self) -> None:
        for pid in list(self._children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            # Before it is reaped, while its group cannot be anybody else's: what it started goes with it.
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            leash = self._children.pop(pid).leash
            if leash in self._selector.get_map():
                self._selector.unregister(leash)
            with leash, suppress(BrokenPipeError):  # nobody wants to know
                leash.send(STATUS.pack(os.waitstatus_to_exitcode(status)))

    def _kill_all(self) -> None:
        for forked in self._children.values():
            _kill(forked)


def _kill(forked: _Child) -> None:
    """Kill a child that has not been reaped yet, so its process id is nobody else's, and what it started."""
    os.kill(forked.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):  # it had not come as far as to lead a group
        os.killpg(forked.pid, signal.SIGKILL)


def _begin(name: str) -> Main:
    setproctitle.setproctitle(name)
    if torch.cuda._is_in_bad_fork():
        # Something that was imported here has touched the device: begin again as a process that has not.
        os.execv(sys.executable, [sys.executable, "-m", name])  # noqa: S606  no shell
    return MODULES[name]


def main() -> None:
    """Serve on the socket whose number is the only argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    setproctitle.setproctitle("worker.fork_server")
    # What is there now is never freed: collecting it in a child would only copy its pages.
    gc.collect()
    gc.freeze()
    work = Server(control).serve()
    if work is not None:
        work()


if __name__ == "__main__":
    main()
