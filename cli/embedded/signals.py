import signal
from types import TracebackType
from typing import Self


class StopRequested(BaseException):
    """Somebody wants us to end in good order; like KeyboardInterrupt, it is no error."""


class StopSignals:
    """Turn Ctrl-C, SIGTERM and a closed terminal into an exception at a moment of our choice.

    A KeyboardInterrupt could strike between the start of a process and the note that we started it.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def raise_if_requested(self) -> None:
        if self._requests:
            raise StopRequested

    def insisted(self) -> bool:
        """Tell whether we were asked more than once."""
        return self._requests > 1

    def __enter__(self) -> Self:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup secateur up` outlives its terminal
            numbers.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._count) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _count(self, *_: object) -> None:
        self._requests += 1
