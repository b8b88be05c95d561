"""The memory that a process has freed: keep it for the next tensors, instead of giving it back to the system each time.

Each pass through a network frees tensors of some megabytes and takes equal ones again. When the C library gives them
back in between, the system must clear every page again: up to a third of the time of a ConvNet on a CPU (docs/LOG.md).
"""

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of two settings of `mallopt` in the C library of GNU/Linux."""
KEPT_BYTES = 2**30
"""Most freed bytes that are kept at the end of the heap."""
LARGEST_BYTES = 2**28
"""Blocks of more bytes are given back to the system when they are freed."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; return whether the C library knows how.

    Only for a process that belongs to the program, as the setting holds for everything in it. A user who has set a
    variable such as ``MALLOC_TRIM_THRESHOLD_`` has chosen, and nothing is changed.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system or another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_BYTES)) and bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES))
