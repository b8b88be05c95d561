"""The device that a command or a run computes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from . import distributed
from .errors import UserError

_AUTOMATIC: ContextVar[str] = ContextVar("automatic", default="auto")
"""The name of the device that ``auto`` stands for; see `automatic`."""


@contextmanager
def automatic(name: str) -> Iterator[None]:
    """Let ``auto`` stand for the device called `name` within a block.

    Raises:
        UserError: this machine has no such device.
    """
    pick_device(name)
    before = _AUTOMATIC.set(name)
    try:
        yield
    finally:
        _AUTOMATIC.reset(before)


def pick_device(name: str) -> torch.device:
    """Return the device of a name. ``auto``: a CUDA device, or else the CPU. ``cuda``: another one for each process.

    Raises:
        UserError: this machine has no such device.
    """
    name = _AUTOMATIC.get() if name == "auto" else name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda", distributed.local_rank()) if name == "cuda" else torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"this machine has no device {name!r} ({reason}); take auto or cpu") from error
    return device
