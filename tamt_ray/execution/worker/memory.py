"""Memory of processes that train on a CPU."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names in `malloc.h`."""
_MOST, _OLD_MOST = 2**31 - 1, 2**25
"""Bytes; older versions of the C library know a smaller limit for single blocks."""


def keep_freed_memory() -> bool:
    """Have this process keep, up to 2 GiB, what a step frees, for the next one; whether it does.

    Otherwise the C library gives large blocks back to the system, which clears every page anew
    for the next step. Where that library is not GNU's, nothing changes.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    large = mallopt(_MMAP_THRESHOLD, _MOST) or mallopt(_MMAP_THRESHOLD, _OLD_MOST)
    return bool(large and mallopt(_TRIM_THRESHOLD, _MOST))
