"""Locks: only one run at a time writes to a folder, and only one at a time computes in a process."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import distributed
from .errors import UserError
from .runlog import say
from .storage.files import LOCK, remove_leftovers
from .storage.flock import NoLocksError, is_at, is_locked, lock

_computing = threading.RLock()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Reserve a folder, and the right to compute in this process, for one run until the block ends.

    The lock on the folder is released when the process ends, even if it is killed. Temporary files of killed processes
    are removed from the folder. If another thread of this process computes, this function waits, because PyTorch's
    forward derivatives and its tracing work for only one thread at a time.

    Args:
        folder: the folder to lock. It is made if it is missing; if it is empty at the end, it is removed again.

    Raises:
        UserError: another process or thread writes to the folder, or the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        distributed.on_first_rank(lambda: stack.enter_context(_locked(folder)))
        stack.enter_context(_one_thread_computes())
        yield


def is_in_use(folder: Path) -> bool:
    """Return whether a run writes to a folder now; without locks, whether one did not end properly counts, too."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:  # no lock file, or no folder
        return False
    try:
        return is_locked(handle)
    except NoLocksError:
        return True
    finally:
        os.close(handle)


@contextmanager
def _one_thread_computes() -> Iterator[None]:
    if not _computing.acquire(blocking=False):
        say("another thread of this process distils or trains a pool; this run waits until it has finished")
        _computing.acquire()
    try:
        yield
    finally:
        _computing.release()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        handle = _open_locked(folder)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder} or write to it: {error.strerror}") from error
    try:
        remove_leftovers(folder)
        yield
    finally:
        try:
            (folder / LOCK).unlink(missing_ok=True)
        finally:
            os.close(handle)
        with contextlib.suppress(OSError):  # raised at the first folder that is not empty
            for each in made:
                each.rmdir()


def _open_locked(folder: Path) -> int:
    """Open and lock the lock file of a folder, write the name of this process into it, and return its handle."""
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, folder)
            if is_at(handle, path):
                return _named(handle)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        free = lock(handle, wait=False)
    except NoLocksError:
        say(f"the file system of {folder} has no locks: make sure that no second run writes to this folder")
        return
    if not free:
        holder = os.pread(handle, 500, 0).decode(errors="replace").strip() or "another process"
        raise UserError(
            f"{folder} is in use by {holder}, which writes to it; wait until it ends, or give another path with --out"
        )


def _named(handle: int) -> int:
    with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return handle
