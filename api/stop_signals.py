"""Hear that the process is to stop as soon as it is told so."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_stop(tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called in the event loop when a signal asks the process to stop.

    The server says so only once every answer has ended, and a stream that waits for that word never does.
    """
    if threading.current_thread() is not threading.main_thread():
        # Where Python takes no handlers, and no server gets signals.
        yield
        return
    loop = asyncio.get_running_loop()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    servers = {number: handler for number, handler in handlers.items() if callable(handler)}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        servers[signal.Signals(number)](number, frame)

    for number in servers:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in servers.items():
            signal.signal(number, handler)
