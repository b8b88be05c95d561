"""The device that a command or a run computes on."""

import torch

from . import distributed
from .errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device of a name. ``auto``: a CUDA device (a different one for each process), or else the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda", distributed.local_rank()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"this machine has no device {name!r} ({reason}); take auto or cpu") from error
    return device
