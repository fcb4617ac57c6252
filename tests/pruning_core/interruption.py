"""A pruning that ends in its middle, and what is left of it."""

from pathlib import Path

from pruning_core.events import Event


class Interrupted(BaseException):
    """As little expected as a signal."""


class Interruption:
    """A listener that ends the pruning when it is told of a kind of event for so many times."""

    def __init__(self, kind: type, times: int) -> None:
        self._kind, self._left = kind, times

    def __call__(self, event: Event) -> None:
        self._left -= isinstance(event, self._kind)
        if not self._left:
            raise Interrupted


def require_same_files(folder: Path, expected: Path) -> None:
    names = sorted(file.name for file in expected.iterdir())
    assert names == sorted(file.name for file in folder.iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
