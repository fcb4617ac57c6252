"""Room on a disk that is asked for before it is needed, and what is said when there is none."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pruning_core.errors import DiskFullError


def reserve(descriptor: int, size: int, what: str) -> None:
    """Give an open file so many bytes now, rather than find hours later that the disk has not got them.

    Raises:
        DiskFullError: there is no room; the message says that it was for `what`.
    """
    with explaining_a_full_disk(f"{what} ({size:,} bytes)"):
        if sys.platform == "linux":
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.truncate(descriptor, size)


@contextmanager
def explaining_a_full_disk(what: str) -> Iterator[None]:
    """Say what there was no room for.

    Raises:
        DiskFullError: instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise DiskFullError(error.errno, f"There is no room on the disk for {what}") from error
