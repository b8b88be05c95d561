"""Measuring how long an outer iteration takes in each way to compute it."""

import math
import time
from dataclasses import dataclass, replace

import torch

from .errors import UserError
from .methods import Method, State, Task
from .runlog import say
from .training import Engine

SLOWER_THAN_BEST = 10.0
"""A way to compute that takes longer than this many times the best is not measured again."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The time of an outer iteration in one way to compute it."""

    engine: Engine
    first: float
    """Seconds of the first call, which includes tracing and compiling."""
    seconds: float
    """Fewest seconds of all later calls; if there was no time for a later call, the seconds of the first."""


def of_seconds(timing: Timing) -> float:
    """Return the seconds of a timing, as a key to sort by."""
    return timing.seconds


def measure(
    method: Method,
    task: Task,
    ways: list[Engine],
    rounds: int = 3,
    *,
    until: float = math.inf,
    needed: bool = True,
) -> list[Timing]:
    """Measure the time of an outer iteration in each way to compute it; return the fastest way first.

    The ways take turns, and the shortest time of each counts, because other work on the machine only adds time. A way
    is left out if this network or machine does not allow it, or if there is no time for it.

    Args:
        method: the method that will be run.
        task: the task that will be run; its engine is ignored.
        ways: the ways to compute, as engines without the value auto.
        rounds: calls of each way after the first. A way that is ten times slower than the best is not called again.
        until: value of `time.perf_counter` by which the last call ends, if it takes as long as one before it.
        needed: at least one way must be possible, and the first way is measured even if there is no time.

    Raises:
        UserError: no way is possible, though one is needed.
    """
    state = method.init(task)
    first: dict[Engine, float] = {}
    trials = {way: replace(task, engine=way) for way in ways}
    for way, trial in trials.items():
        if (first or not needed) and time.perf_counter() + min(first.values(), default=0.0) > until:
            say(f"not measured, because there is no time: {way}")
            continue
        try:
            first[way] = _seconds(method, trial, state)
        except (UserError, RuntimeError) as error:
            if needed and len(ways) == 1:
                raise
            say(f"left out ({way}): {str(error).splitlines()[0]}")
    seconds = {way: took if _unprepared(way) else math.inf for way, took in first.items()}
    for turn in range(rounds):
        for way in first:
            slow = seconds[way] > SLOWER_THAN_BEST * min(seconds.values()) and (turn or _unprepared(way))
            if not slow and time.perf_counter() + min(first[way], seconds[way]) <= until:
                seconds[way] = min(seconds[way], _seconds(method, trials[way], state))
    timings = [Timing(engine=way, first=took, seconds=min(seconds[way], took)) for way, took in first.items()]
    return sorted(timings, key=of_seconds)


def _unprepared(way: Engine) -> bool:
    """Whether the first call of a way takes as long as later calls, because nothing is traced or compiled."""
    return way.execution in ("eager", "forward")


def _seconds(method: Method, task: Task, state: State) -> float:
    began = time.perf_counter()
    method.step(task, state, 0)
    if task.data.device.type == "cuda":
        torch.cuda.synchronize(task.data.device)
    return time.perf_counter() - began
