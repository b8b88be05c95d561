"""Locks on open files. The operating system releases them when the process ends, even if it is killed."""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCKED_BY_ANOTHER = {errno.EACCES, errno.EAGAIN}


class NoLocksError(OSError):
    """The file system or the operating system has no locks."""


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed.

    Args:
        handle: the descriptor of the open file.
        wait: wait until the file is free.

    Returns:
        False if another process or thread holds the lock (never if `wait` is true).

    Raises:
        NoLocksError: the file system or the operating system has no locks.
    """
    if fcntl is None:
        raise NoLocksError(errno.ENOSYS, "no fcntl")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _LOCKED_BY_ANOTHER:
            return False
        raise NoLocksError(error.errno, error.strerror) from error
    return True


def is_locked(handle: int) -> bool:
    """Return whether another process or thread holds the lock on an open file; it is not locked for longer than asked.

    Raises:
        NoLocksError: the file system or the operating system has no locks.
    """
    if fcntl is None:
        raise NoLocksError(errno.ENOSYS, "no fcntl")
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that two that ask do not meet
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno in _LOCKED_BY_ANOTHER:
            return True
        raise NoLocksError(error.errno, error.strerror) from error
    return False


def is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still at this path: another process may have removed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
