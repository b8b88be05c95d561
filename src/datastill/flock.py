"""Locks on open files. The system releases them when the process ends, however it ends."""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HELD = {errno.EACCES, errno.EAGAIN}


class NoLocksError(OSError):
    """The file system or the operating system has no locks."""


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed; returns False where another process or thread holds the lock.

    Raises:
        NoLocksError: there are no locks here.
    """
    if fcntl is None:
        raise NoLocksError(errno.ENOSYS, "no fcntl")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in HELD:
            return False
        raise NoLocksError(error.errno, error.strerror) from error
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at this path: another process may have removed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
