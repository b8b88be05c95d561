"""Operations and memory of an outer iteration: counted and followed on a few of its gradient steps, then continued.

Every gradient step of a program has as many operations and keeps as many bytes as any other, so that both lie on a
line. A long program is never run as a whole here.
"""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from . import distributed
from .training import Unroll
from .training.engine import Mode
from .trial import Iteration, Unrolled

MODES: tuple[Mode, ...] = ("stored", "recomputed")
SHORTEST = 4
"""Gradient steps up to which a program is run as a whole: to run shorter ones would take as long."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The memory and the operations of an outer iteration, which do not depend on the machine."""

    memory: int
    """The most bytes that its tensors hold at once, besides data and weights that are there before."""
    operations: int
    """Floating-point operations of products and convolutions, a multiplication and an addition being two; the mean
    over the places of a window."""


def costs(trial: Unrolled) -> dict[Mode, Cost]:
    """The cost of an outer iteration in each mode, with the networks together that the engine asks for, or all."""
    trial.variant(replace(_plain(trial, "recomputed"), window=0), 1, 1)()  # makes what is made once and kept
    if trial.steps * trial.epochs <= SHORTEST:
        return {mode: cost(trial.variant(_plain(trial, mode), trial.steps, trial.epochs)) for mode in MODES}
    return _continued(trial)


def _continued(trial: Unrolled) -> dict[Mode, Cost]:
    """The costs of the whole program, by mode, from those of programs of 2, 3 and 4 gradient steps."""

    def short(mode: Mode, steps: int, epochs: int) -> Cost:
        return cost(trial.variant(replace(_plain(trial, mode), window=0), steps, epochs))

    two, three = ({mode: short(mode, 1, epochs) for mode in MODES} for epochs in (2, 3))
    step = {mode: _difference(three[mode], two[mode]) for mode in MODES}
    examples = Cost(memory=0, operations=0)  # of one more step in each epoch, besides the step itself
    if trial.steps > 1:
        examples = _difference(_difference(short("stored", 2, 2), three["stored"]), step["stored"])
    training = step["recomputed"].operations - step["stored"].operations  # of a step that is not differentiated
    return {mode: _along(trial, mode, two[mode], step[mode], examples, training) for mode in MODES}


def _along(trial: Unrolled, mode: Mode, two: Cost, step: Cost, examples: Cost, training: int) -> Cost:
    """The cost of the whole program, on a line through the cost of two gradient steps."""
    total, more = trial.steps * trial.epochs, trial.steps - 1
    differentiated = trial.unroll.window or total
    before = (total - differentiated) // 2  # the mean: a window may be anywhere, and is the end
    kept = _kept(differentiated, mode, trial.unroll.engine.keep_every)
    return Cost(
        memory=two.memory + (kept - 2) * max(step.memory, 0) + more * max(examples.memory, 0),
        operations=two.operations
        + (differentiated - 2) * step.operations
        + before * training
        + more * examples.operations,
    )


def _difference(one: Cost, other: Cost) -> Cost:
    return Cost(memory=one.memory - other.memory, operations=one.operations - other.operations)


def _kept(steps: int, mode: Mode, every: int) -> int:
    """How many of the steps that are differentiated have their graphs or weights kept at once."""
    return steps if mode == "stored" or every == 1 else -(-steps // every) + min(every, steps)


def _plain(trial: Unrolled, mode: Mode) -> Unroll:
    """How to unroll with an engine that needs no preparation."""
    together = trial.unroll.engine.together or own_networks(trial)
    engine = replace(trial.unroll.engine, mode=mode, execution="eager", together=together, keep_every=1)
    return replace(trial.unroll, engine=engine)


def own_networks(trial: Unrolled) -> int:
    """How many networks of an iteration this process computes."""
    return len(distributed.rank_slice(trial.unroll.networks))


def cost(iteration: Iteration) -> Cost:
    """The cost of an outer iteration, measured by running it as a whole."""
    with Peak() as follower:
        iteration()
    return Cost(memory=follower.peak, operations=follower.operations)


class Peak(TorchDispatchMode):
    """A context that follows the storages made inside, and counts the operations of products and convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.operations = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there = {tensor.untyped_storage()._cdata for tensor in _tensors(args)}
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(
            func._overloadpacket
        ):  # `FlopCounterMode` loads the compiler, which takes seconds
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        for tensor in _tensors(out):
            if tensor.untyped_storage()._cdata not in there:  # not a view, nor changed in place
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, held = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: object) -> None:
            self.now -= held
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, gone)
        self.now += held
        self.peak = max(self.peak, self.now)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            left.extend(value)
