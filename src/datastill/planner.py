"""Before a run: what an outer iteration costs in operations, memory and time, and which way to compute it is best here.

Nothing is looked up: operations are counted, bytes are followed and seconds are taken on the method's own outer
iteration with the run's own data.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .costs import SHORTEST, Cost, cost, costs, own_networks
from .errors import UserError, counted
from .memory import free_bytes
from .modes import usual_modes
from .runlog import say
from .timing import Seconds, Timing, measure, of_seconds, seconds_of
from .training import Engine, Unroll
from .training.engine import Execution, Mode, Precision
from .training.precision import slow
from .trial import Trial, Unrolled

MEASURES_FROM = 60.0
"""Seconds that a run must take before there is anything to gain from another way than the plainest."""
COMPILES_FROM = 900.0
"""Seconds that a run must take before compiling, which takes a minute, is worth trying."""
ENDS_AFTER = 25.0
"""Seconds in which ways are measured before a run."""
GAIN = 0.8
"""Share of the seconds in float32 that bfloat16 may take to be chosen: it rounds coarsely, for a reason only."""
CALLS = 8
"""How often an outer iteration must fit into the time of a plan, so that ways to compute it can be compared."""
HEADROOM = 0.8
"""Share of the free memory that a mode may fill."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an outer iteration costs here."""

    parameters: int
    operations: int
    """Floating-point operations of an outer iteration, a multiplication and an addition being two."""
    memory: dict[str, int]
    """Predicted peak bytes of tensors by mode, besides data and weights that are there before; where nothing can be
    chosen, the peak of an iteration."""
    available: int
    """Free bytes."""
    timings: Sequence[Seconds]
    """Fastest first."""

    def lines(self, iterations: int) -> Iterator[str]:
        """The plan for people."""
        free = f"of {size(self.available)} free"
        yield f"parameters                {self.parameters:,}"
        yield f"operations per iteration  {self.operations / 1e9:,.2f} GFLOP"
        for mode, needed in self.memory.items():
            yield f"memory, {mode:<16}  {size(needed)} {free}"
        best = self.timings[0]
        for timing in self.timings:
            took, first = f"{timing.seconds:.3f} s", f"{timing.first:.1f} s"
            yield f"  {took} per iteration, {first} the first: {timing.way}"
        rate = self.operations / best.seconds / 1e9
        yield f"best                      {best.way}: {rate:.0f} GFLOP/s"
        total = duration(best.first + best.seconds * iterations)
        yield f"time                      {total} for {counted(iterations, 'iteration')}"
        yield "                          besides validation and the final evaluation"


@usual_modes()
def choose(trial: Unrolled, iterations: int) -> Unroll:
    """Return how to unroll with an engine that leaves nothing open: the fastest way that fits into memory.

    Args:
        trial: an outer iteration of what will be run.
        iterations: outer iterations to come; compiling pays for many only.

    Raises:
        UserError: the mode asked for, or every mode, does not fit.
    """
    engine = _fastest(trial, iterations)
    say(f"how to compute: {engine}")
    return replace(trial.unroll, engine=engine)


def _fastest(trial: Unrolled, iterations: int) -> Engine:
    warn(trial)
    room = _room(trial)
    trial, modes = room.trial, room.modes
    asked = trial.unroll.engine
    plainest = replace(plain(asked), mode=modes[0], together=asked.together or own_networks(trial))
    once = measure(trial, [plainest], rounds=0 if asked.resolved else 1)  # also shows whether it can be done
    if asked.resolved or once[0].seconds * iterations < MEASURES_FROM:
        return plainest
    until = time.perf_counter() + ENDS_AFTER
    return timed(trial, modes[:1], iterations, compiling=True, until=until)[0].engine


def warn(trial: Unrolled) -> None:
    """Say that a precision that was asked for is slow here."""
    precision = trial.unroll.engine.precision
    if precision != "auto" and (why := slow(trial.device, precision)):
        say(f"warning: {why}; take --method.engine.precision auto or float32")


def plain(engine: Engine) -> Engine:
    """The engine with an execution that needs no preparation and in float32, where these are open."""
    execution: Execution = "eager" if engine.execution == "auto" else engine.execution
    precision: Precision = "float32" if engine.precision == "auto" else engine.precision
    return replace(engine, execution=execution, precision=precision)


@usual_modes()
def plan(trial: Trial, iterations: int, *, until: float | None = None) -> Plan:
    """All that can be known before a run; takes some outer iterations, and compiles only what must be compiled.

    Args:
        trial: an outer iteration of what will be run.
        iterations: outer iterations to come.
        until: value of `time.perf_counter` by which the last iteration ends, as far as that can be foreseen; one is
            measured in any case. `ENDS_AFTER` seconds from now when left out.
    """
    until = time.perf_counter() + ENDS_AFTER if until is None else until
    if not isinstance(trial, Unrolled):
        return _plan_of_one_way(trial, until)
    warn(trial)
    say("counting the operations and following the memory of an outer iteration, on a few of its gradient steps")
    room = _room(trial)
    short, times = _measurable(room, until)
    timings = timed(short, room.modes, math.ceil(iterations * times), compiling=False, until=until)
    return Plan(
        parameters=trial.parameters,
        operations=room.costs["stored"].operations,
        memory={mode: cost.memory for mode, cost in room.costs.items()},
        available=room.available,
        timings=[replace(each, first=each.first * times, seconds=each.seconds * times) for each in timings],
    )


def _plan_of_one_way(trial: Trial, until: float) -> Plan:
    """Return what an iteration takes that can be computed in only one way, as measured on a few of them."""
    say("measuring an outer iteration: operations, memory and seconds")
    began, iteration = time.perf_counter(), trial.make()
    found = cost(iteration)
    first = time.perf_counter() - began
    taken = [seconds_of(iteration, trial.device)]
    while len(taken) < 3 and time.perf_counter() + taken[-1] < until:
        taken.append(seconds_of(iteration, trial.device))
    return Plan(
        parameters=trial.parameters,
        operations=found.operations,
        memory={"an iteration": found.memory},
        available=free_bytes(trial.device),
        timings=[Seconds(first=first, seconds=min(taken))],
    )


def _measurable(room: "_Room", until: float) -> tuple[Unrolled, float]:
    """Return an iteration of fewer gradient steps if there is no time to measure whole ones.

    Returns:
        The iteration to measure, and how many times more operations a whole one has.
    """
    trial, engine = room.trial, replace(plain(room.trial.unroll.engine), mode=room.modes[0], together=1)
    if trial.steps * trial.epochs <= SHORTEST:
        return trial, 1.0
    short = replace(trial, steps=1, epochs=SHORTEST, unroll=replace(trial.unroll, window=0))
    one = short.variant(replace(short.unroll, engine=engine), short.steps, short.epochs)
    times = room.costs[engine.mode].operations / cost(one).operations
    seconds = measure(short, [engine], rounds=0)[0].seconds * times
    if seconds * CALLS <= until - time.perf_counter():
        return trial, 1.0
    say(f"an outer iteration takes about {seconds:.0f} s: measuring iterations of {SHORTEST} gradient steps instead")
    return short, times


@dataclass(frozen=True, kw_only=True)
class _Room:
    """What fits into memory: all networks together, or else one at a time."""

    trial: Unrolled
    costs: dict[Mode, Cost]
    available: int
    modes: list[Mode]


def _room(trial: Unrolled) -> _Room:
    engine, found, available = trial.unroll.engine, costs(trial), free_bytes(trial.device)
    try:
        modes = fitting(engine, {mode: cost.memory for mode, cost in found.items()}, available)
        return _Room(trial=trial, costs=found, available=available, modes=modes)
    except UserError:
        if engine.together or own_networks(trial) == 1:
            raise
        one = replace(trial.unroll, engine=replace(engine, together=1))
        return _room(replace(trial, unroll=one))


def fitting(engine: Engine, memory: dict[Mode, int], available: int) -> list[Mode]:
    """The modes asked for that fit into memory, least work first.

    Raises:
        UserError: none does; says which would.
    """
    every: list[Mode] = ["recomputed"] if engine.keep_every > 1 else list(memory)  # stored graphs keep all weights
    asked = every if engine.mode == "auto" else [engine.mode]
    limit = HEADROOM * available
    fits = [mode for mode in asked if memory[mode] <= limit]
    if fits:
        return fits
    others = [mode for mode in memory if memory[mode] <= limit]
    advice = f"take mode={others[0]}" if others else "take fewer networks together, a smaller real_batch or keep_every"
    needed, free = size(memory[asked[-1]]), size(available)
    raise UserError(f"mode {asked[-1]!r} needs about {needed}, but {free} of memory are free; {advice}")


def timed(trial: Unrolled, modes: list[Mode], iterations: int, *, compiling: bool, until: float) -> list[Timing]:
    """Seconds of an outer iteration in every way that is left open, fastest first.

    Executions are compared for the best mode and number of networks together, and precisions for the best of these.

    Args:
        trial: an outer iteration, with the engine as it was asked for.
        modes: those that fit into memory.
        iterations: outer iterations to come.
        compiling: whether compiled steps may be tried, which takes a minute or two; only a long run does.
        until: value of `time.perf_counter` by which the last iteration ends, as far as that can be foreseen; one is
            measured in any case.
    """
    engine = trial.unroll.engine
    together = [engine.together] if engine.together else sorted({1, own_networks(trial)})
    ways = [replace(plain(engine), mode=mode, together=count) for mode in modes for count in together]
    say(f"measuring {counted(len(ways), 'way')} to compute an outer iteration (memory, networks together)")
    found = measure(trial, ways, until=until)
    if engine.execution == "auto":
        found = _with_executions(trial, found, _executions(found[0].seconds * iterations, compiling), until)
    if engine.precision == "auto":
        found = _with_half(trial, found, until)
    return found


def _with_executions(trial: Unrolled, found: list[Timing], executions: list[Execution], until: float) -> list[Timing]:
    """The timings with those of the best way by every execution, which take turns with it."""
    say(f"measuring {counted(len(executions), 'way')} to compute a step: {', '.join(executions)}")
    best = found[0]
    ways = [replace(best.engine, execution=each) for each in executions]
    again = measure(trial, ways, until=until - best.seconds, needed=False)
    others = found[1:] if best.engine in [timing.engine for timing in again] else found
    return sorted([*again, *others], key=of_seconds)


def _executions(seconds: float, compiling: bool) -> list[Execution]:
    """Those worth trying for a run of this length."""
    if seconds <= COMPILES_FROM:
        return ["eager", "traced"]
    if not compiling:
        say("a run this long will also try compiled steps, which takes a minute or two; they are left out here")
        return ["eager", "traced"]
    say("compiling the inner step, as the run is long; this takes a minute or two")
    return ["eager", "traced", "compiled"]


def _with_half(trial: Unrolled, found: list[Timing], until: float) -> list[Timing]:
    """The timings with that of the best way in bfloat16, where this machine is not slow in it.

    It comes first only if it is faster by more than rounding more coarsely is worth.
    """
    if why := slow(trial.device, "bfloat16"):
        say(f"not bfloat16: {why}")
        return found
    say("measuring the best way in bfloat16")
    best = found[0]
    half = measure(trial, [replace(best.engine, precision="bfloat16")], until=until - best.seconds, needed=False)
    if half and half[0].seconds <= GAIN * best.seconds:
        return [*half, *found]
    return [best, *sorted([*found[1:], *half], key=of_seconds)]


def duration(seconds: float) -> str:
    """Time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
