"""Measuring how long an outer iteration takes in each way to compute it."""

import math
import time
from dataclasses import dataclass, replace

import torch

from .errors import UserError
from .runlog import say
from .training import Engine
from .trial import Iteration, Unrolled

SLOWER_THAN_BEST = 10.0
"""A way to compute that takes longer than this many times the best is not measured again."""


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """The time of an outer iteration."""

    first: float
    """Seconds of the first call, which includes tracing and compiling."""
    seconds: float
    """Fewest seconds of all later calls; if there was no time for a later call, the seconds of the first."""

    @property
    def way(self) -> str:
        """How it was computed, in words."""
        return "as it is"


@dataclass(frozen=True, kw_only=True)
class Timing(Seconds):
    """The time of an outer iteration in one of several ways to compute it."""

    engine: Engine
    """How it was computed."""

    @property
    def way(self) -> str:
        """How it was computed, in words."""
        return str(self.engine)


def of_seconds(timing: Timing) -> float:
    """Return the seconds of a timing, as a key to sort by."""
    return timing.seconds


def measure(
    trial: Unrolled, ways: list[Engine], rounds: int = 3, *, until: float = math.inf, needed: bool = True
) -> list[Timing]:
    """Measure the time of an outer iteration in each way to compute it; return the fastest way first.

    The ways take turns, and the shortest time of each counts, because other work on the machine only adds time. A way
    is left out if this network or machine does not allow it, or if there is no time for it.

    Args:
        trial: the iteration; its own engine is ignored.
        ways: the ways to compute, as engines without the value auto.
        rounds: calls of each way after the first. A way that is ten times slower than the best is not called again.
        until: value of `time.perf_counter` by which the last call ends, if it takes as long as one before it.
        needed: at least one way must be possible, and the first way is measured even if there is no time.

    Raises:
        UserError: no way is possible, though one is needed.
    """
    first: dict[Engine, float] = {}
    iterations: dict[Engine, Iteration] = {}
    for way in ways:
        if (first or not needed) and time.perf_counter() + min(first.values(), default=0.0) > until:
            say(f"not measured, because there is no time: {way}")
            continue
        try:
            iterations[way] = trial.variant(replace(trial.unroll, engine=way), trial.steps, trial.epochs)
            first[way] = seconds_of(iterations[way], trial.device)
        except (UserError, RuntimeError) as error:
            if needed and len(ways) == 1:
                raise
            say(f"left out ({way}): {str(error).splitlines()[0]}")
    seconds = {way: took if _unprepared(way) else math.inf for way, took in first.items()}
    for turn in range(rounds):
        for way in first:
            slow = seconds[way] > SLOWER_THAN_BEST * min(seconds.values()) and (turn or _unprepared(way))
            if not slow and time.perf_counter() + min(first[way], seconds[way]) <= until:
                seconds[way] = min(seconds[way], seconds_of(iterations[way], trial.device))
    timings = [Timing(engine=way, first=took, seconds=min(seconds[way], took)) for way, took in first.items()]
    return sorted(timings, key=of_seconds)


def _unprepared(way: Engine) -> bool:
    """Whether the first call of a way takes as long as later calls, because nothing is traced or compiled."""
    return way.execution in ("eager", "forward")


def seconds_of(iteration: Iteration, device: torch.device) -> float:
    """Return the seconds that an outer iteration takes."""
    began = time.perf_counter()
    iteration()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
