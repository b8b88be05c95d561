"""Stopping on signals (Ctrl-C, SIGTERM) without losing work."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from . import distributed


class Terminated(KeyboardInterrupt):
    """Raised by `terminable` when SIGTERM comes; the process then ends as it does after Ctrl-C."""


def signal_of(stop: KeyboardInterrupt) -> int:
    """Return the number of the signal that stopped the process."""
    return signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` when SIGTERM comes, so that files are closed and the user reads how to resume."""

    def terminate(_signum: int, _frame: FrameType | None) -> None:
        raise Terminated

    with _handled({signal.SIGTERM: terminate}):
        yield


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that the current iteration can finish; a second signal kills."""
    asked: list[int] = []

    def ask(signum: int, _frame: FrameType | None) -> None:
        asked.append(signum)
        if distributed.ranks() == 1:  # torchrun sends a signal again that the terminal has already sent
            signal.signal(signum, previous[signum])

    with _handled({signal.SIGINT: ask, signal.SIGTERM: ask}) as previous:
        yield asked


@contextmanager
def _handled(handlers: dict[int, Any]) -> Iterator[dict[int, Any]]:
    """Replace signal handlers, yield the earlier ones, and restore them at the end; in the main thread only."""
    previous: dict[int, Any] = {each: signal.getsignal(each) or signal.SIG_DFL for each in handlers}
    changed = []
    try:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
            changed.append(signum)
    except ValueError:  # Python handles signals in the main thread only
        pass
    try:
        yield previous
    finally:
        for signum in changed:
            signal.signal(signum, previous[signum])
