"""The checkpoint of networks in training: a training that was stopped goes on where it was."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import UserError
from ..program import State
from ..storage.files import MOST_BYTES, read_tensors, write_whole

SECONDS_BETWEEN = 60.0
"""Seconds of training between two checkpoints."""
MOST_SHARE = 0.05
"""At most this share of the time is spent on writing checkpoints."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """How far the training of some networks is."""

    step: int = 0
    """Gradient steps done."""
    seconds: float = 0.0
    """Seconds that they took."""
    state: State
    """Weights and moments of the networks, each (networks, size)."""
    kept: tuple[Tensor, ...] = ()
    """Weights at the snapshots so far, each (networks, size), on the CPU."""


class Checkpoints:
    """Follows a training, and writes it to a file from time to time and when it is stopped."""

    def __init__(self, file: Path, begun: TrainingState, tell: Callable[[int], object]) -> None:
        """Nothing is written yet; `tell` is called with the number of gradient steps done after each one."""
        self.file, self.tell = file, tell
        self._now = self._written = begun
        self._next = time.monotonic() + SECONDS_BETWEEN

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and self._now is not self._written:
            self._write()

    def follow(self, now: TrainingState) -> None:
        """Take note of a gradient step."""
        self._now = now
        self.tell(now.step)
        if time.monotonic() >= self._next:
            self._write()

    def _write(self) -> None:
        """Write the state in the place of the one before, unless it is too large to be read again."""
        began, now = time.monotonic(), self._now
        tensors = {f"state.{i}": each.detach().cpu().contiguous() for i, each in enumerate(now.state)}
        tensors |= {f"kept.{i}": each.contiguous() for i, each in enumerate(now.kept)}
        tensors["done"] = torch.tensor([now.step, now.seconds], dtype=torch.float64)
        if sum(each.nbytes for each in tensors.values()) <= MOST_BYTES:
            write_whole(self.file, save(tensors))
        self._written, ended = now, time.monotonic()
        self._next = ended + max(SECONDS_BETWEEN, (ended - began) / MOST_SHARE)


def read(file: Path) -> TrainingState | None:
    """Return the state of a training in a file, on the CPU; None if there is no such file.

    Raises:
        UserError: the file is broken, or holds no state of a training.
    """
    if not file.exists():
        return None
    try:
        tensors = read_tensors(file)[1]
    except UserError as error:
        raise UserError(f"{error}; {_fix(file)}") from error
    state, kept, done = _numbered(tensors, "state"), _numbered(tensors, "kept"), tensors.get("done")
    if done is None or done.shape != (2,):
        raise UserError(f"{file} holds no training of networks; {_fix(file)}")
    return TrainingState(step=int(done[0]), seconds=float(done[1]), state=state, kept=kept)


def goes_on(file: Path, start: TrainingState) -> TrainingState:
    """Return the training in a file, on the device of `start`, or `start` if there is none.

    Raises:
        UserError: the file is broken, or holds no training of these networks.
    """
    found = read(file)
    if not found:
        return start
    if [each.shape for each in found.state] != [each.shape for each in start.state]:
        raise UserError(f"{file} holds the training of other networks; {_fix(file)}")
    return replace(found, state=tuple(each.to(start.state[0].device) for each in found.state))


def _fix(file: Path) -> str:
    return f"delete {file}; its networks are then trained from their start"


def _numbered(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, ...]:
    """Return the tensors ``name.0``, ``name.1`` and so on."""
    found: list[Tensor] = []
    while (each := tensors.get(f"{name}.{len(found)}")) is not None:
        found.append(each)
    return tuple(found)
