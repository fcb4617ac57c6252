from collections.abc import Sequence
from functools import cache
from signal import Signals

from cli.embedded.programs import succeeds


def dying_with_parent(command: Sequence[str], death_signal: Signals) -> list[str]:
    """Have the kernel send `death_signal` to the command when its parent dies, even by `kill -9`.

    Linux ties this to the *thread* that starts the process, so start it from one that stays. Where `setpriv`
    is missing (macOS) the command is returned as it is, and only an orderly stop ends it.
    """
    if not _has_setpriv():
        return list(command)
    return ["setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG"), *command]


@cache
def _has_setpriv() -> bool:
    return succeeds(["setpriv", "--pdeathsig", "KILL", "true"])
