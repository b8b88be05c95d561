"""What a process does when it is asked to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from . import distributed


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the process ends as it does after Ctrl-C."""


def signal_of(stop: KeyboardInterrupt) -> int:
    """The number of the signal that stopped the process."""
    return signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` when SIGTERM comes, so that files are closed and the way to go on is said."""

    def terminate(_signum: int, _frame: FrameType | None) -> None:
        raise Terminated

    with _handled({signal.SIGTERM: terminate}):
        yield


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying, so that the iteration at hand can end; a second one kills."""
    asked: list[int] = []

    def ask(signum: int, _frame: FrameType | None) -> None:
        asked.append(signum)
        if distributed.ranks() == 1:  # torchrun passes on what the terminal has sent already
            signal.signal(signum, previous[signum])

    with _handled({signal.SIGINT: ask, signal.SIGTERM: ask}) as previous:
        yield asked


@contextmanager
def _handled(handlers: dict[int, Any]) -> Iterator[dict[int, Any]]:
    """Replace handlers, gives the earlier ones, and puts them back; only the main thread of a process can do this."""
    previous: dict[int, Any] = {each: signal.getsignal(each) or signal.SIG_DFL for each in handlers}
    changed = []
    try:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
            changed.append(signum)
    except ValueError:  # another thread, which signals do not reach
        pass
    try:
        yield previous
    finally:
        for signum in changed:
            signal.signal(signum, previous[signum])
