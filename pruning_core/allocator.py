"""How the C library's allocator treats the memory of tensors that come and go."""

import ctypes
import platform

M_MMAP_THRESHOLD = -3
"""Of glibc's `mallopt`, see its manual page."""

LARGE_BYTES = 128 * 1024
"""glibc's own threshold, until it raises it."""


def return_large_blocks() -> None:
    """Let every large block go back to the system when it is freed, from now on.

    glibc raises the size from which it does so with every such block, up to 32 MiB. What is smaller then lies in a heap
    with holes: each layer that is read and let go leaves some, and the process grows with the number of layers.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
