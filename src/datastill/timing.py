"""Seconds of an outer iteration in several ways to compute it, taken on the method's own data."""

import math
import time
from dataclasses import dataclass, replace

import torch

from .errors import UserError
from .methods import LearnedTensors, Method, Problem
from .runlog import say
from .training import Engine

HOPELESS = 10.0
"""A way that takes this many times as long as the best is not measured again."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One way to compute an outer iteration."""

    engine: Engine
    first: float
    """Seconds of the first call, with tracing and compiling."""
    seconds: float
    """Least seconds of a later one; of the first, where there was no time for another."""


def of_seconds(timing: Timing) -> float:
    """What timings are sorted by."""
    return timing.seconds


def measure(
    method: Method,
    problem: Problem,
    ways: list[Engine],
    rounds: int = 3,
    *,
    until: float = math.inf,
    needed: bool = True,
) -> list[Timing]:
    """Time outer iterations, fastest way first.

    The ways take turns and the least time of each counts: other work on the machine only ever adds. Left out is a way
    that this network or machine does not allow, and a way that there is no time for.

    Args:
        method: what will be run.
        problem: its engine is not looked at.
        ways: engines with nothing left open.
        rounds: calls of each way after the first. A way that is ten times slower than the best is called no more.
        until: value of `time.perf_counter` after which nothing more is measured, but for the first way.
        needed: at least one way must be possible.

    Raises:
        UserError: no way is possible, though one is needed.
    """
    learned = method.start(problem)
    first: dict[Engine, float] = {}
    trials = {way: replace(problem, engine=way) for way in ways}
    for way, trial in trials.items():
        if first and time.perf_counter() > until:
            say(f"not measured, for lack of time: {way}")
            continue
        try:
            first[way] = _seconds(method, trial, learned)
        except (UserError, RuntimeError) as error:
            if needed and len(ways) == 1:
                raise
            say(f"not {way}: {str(error).splitlines()[0]}")
    seconds = {way: took if _unprepared(way) else math.inf for way, took in first.items()}
    for turn in range(rounds):
        for way in first:
            hopeless = seconds[way] > HOPELESS * min(seconds.values()) and (turn or _unprepared(way))
            late = time.perf_counter() > until and min(seconds.values()) < math.inf
            if not hopeless and not late:
                seconds[way] = min(seconds[way], _seconds(method, trials[way], learned))
    timings = [Timing(engine=way, first=took, seconds=min(seconds[way], took)) for way, took in first.items()]
    return sorted(timings, key=of_seconds)


def _unprepared(way: Engine) -> bool:
    """Whether the first call of a way takes no longer than later ones."""
    return way.execution in ("eager", "forward")


def _seconds(method: Method, problem: Problem, learned: LearnedTensors) -> float:
    began = time.perf_counter()
    method.gradient(problem, learned, 0)
    if problem.data.device.type == "cuda":
        torch.cuda.synchronize(problem.data.device)
    return time.perf_counter() - began
