"""The state of a run: all on which its further outer iterations depend besides the settings; saved as a checkpoint."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import distributed, migration
from .errors import UserError
from .methods import Carried, LearnedTensors, Method, State, name_of
from .storage.checkpoint import must_be_state
from .storage.files import write_whole
from .storage.pickled import read_pickled


@dataclass(kw_only=True)
class RunState:
    """The state of a run."""

    method: str
    """Name of the method."""
    version: int
    """Version of the method's state."""
    learned: LearnedTensors
    averaged: LearnedTensors
    """Running averages of the learned tensors."""
    carried: Carried = field(default_factory=dict)
    """What the method carries from one iteration to the next."""
    optimiser: dict[str, Any] = field(default_factory=dict)
    """State of the outer optimiser; empty before the run begins."""
    norms: dict[str, list[float]] = field(default_factory=dict)
    """The last norms of the gradients of single networks, by the name of the learned tensor."""
    iteration: int = 0
    best: LearnedTensors = field(default_factory=dict)
    """The averages with the best validation accuracy."""
    best_carried: Carried = field(default_factory=dict)
    best_mean: float = -1.0
    best_iteration: int = 0
    skipped: int = 0
    """How many iterations up to now gave no finite gradient, without one between them that did."""
    seconds: float = 0.0
    identity: dict[str, Any] = field(default_factory=dict)
    """Plain values that must be unchanged when the run is resumed; they are only stored here."""

    @property
    def latest(self) -> State:
        """The state that the next iteration is given."""
        return State(learned=self.learned, carried=self.carried)

    @property
    def averages(self) -> State:
        """The state that is validated: the running averages."""
        return State(learned=self.averaged, carried=self.carried)

    @property
    def kept(self) -> State:
        """The state with the best validation accuracy, which becomes the set."""
        return State(learned=self.best, carried=self.best_carried)


def save(state: RunState, path: Path) -> None:
    """Write a checkpoint, completely or not at all; with several processes only the first one writes."""
    if distributed.rank() == 0:
        content = io.BytesIO()
        torch.save(vars(state), content)
        write_whole(path, content.getvalue())


def load(path: Path) -> RunState:
    """Read a checkpoint; only tensors and plain values are accepted, nothing is executed.

    Raises:
        UserError: there is no checkpoint, or it is broken, or it is not the checkpoint of a run.
    """
    if not path.exists():
        raise UserError(f"there is no checkpoint at {path} to resume from; leave --resume out to start anew")
    try:
        plain = migration.checkpoint(read_pickled(path))
        must_be_state(plain)
        return RunState(**plain)
    except (UserError, TypeError) as error:  # a TypeError: the fields of another version
        raise unusable(path, error) from error


def must_be_of(method: Method, state: RunState, path: Path) -> None:
    """Raise a `UserError` unless the state in the checkpoint at `path` is that of this method, in this version."""
    ours = name_of(method)
    if state.method != ours:
        raise unusable(path, f"it holds the state of the method {state.method}, but the run has {ours}")
    if state.version != method.version:
        raise unusable(
            path, f"it holds version {state.version} of the state of {ours}, but this is version {method.version}"
        )
    if missing := method.rates().keys() - state.learned.keys():
        raise unusable(path, f"it lacks {', '.join(sorted(missing))}, which the method learns")


def placed(state: RunState, device: torch.device) -> RunState:
    """Return a state with its tensors on a device; a checkpoint is read to the CPU."""
    tensors = ("learned", "averaged", "carried", "best", "best_carried")
    return RunState(**vars(state) | {name: _moved(vars(state)[name], device) for name in tensors})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, device) for each in value)
    return value


def unusable(path: Path, error: Exception | str) -> UserError:
    """Return the error for a checkpoint from which no run can go on."""
    why = str(error).replace(f"{path} ", "it ", 1)
    return UserError(f"cannot resume from the checkpoint {path}: {why}; begin a new run in another folder")
