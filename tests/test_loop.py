"""The outer loop: a run stopped anywhere and resumed ends bit for bit where an uninterrupted one does."""

import errno
import math
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import datastill.storage.files
from datastill.errors import UserError
from datastill.loop import DivergedError, LoopSettings, Stopped, first_state, limited, optimise
from datastill.methods import Method, OuterRate, State, SyntheticData, Task, Update
from datastill.rng import generator
from datastill.run_state import RunState, load
from datastill.runlog import read_lines

from .toys import toy_task

SETTINGS = LoopSettings(iterations=12, validate_every=4, checkpoint_every=3)
TARGET = torch.tensor([1.0, -2.0, 3.0])


@dataclass(frozen=True, kw_only=True)
class Noisy(Method):
    """A noisy quadratic around `TARGET`, with whatever `events` do at an iteration."""

    name: ClassVar[str] = "noisy"
    events: Mapping = field(default_factory=dict)
    clip: float = 0.0
    rate: float = 0.1

    def init(self, task: Task) -> State:
        return State(learned={"x": torch.zeros(3), "y": torch.ones(1)})

    def rates(self) -> Mapping[str, OuterRate]:
        return {"x": OuterRate(rate=self.rate, clip=self.clip), "y": OuterRate(rate=0.01)}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        value = self.events[iteration]() if iteration in self.events else None
        noise = torch.randn(3, generator=generator(task.seed, "noise", iteration))
        x = state.learned["x"] - TARGET + noise
        if value is not None:
            x = x * value
        return Update(
            objective=float(x.square().sum()), gradients={"x": 2 * x[None], "y": state.learned["y"][None].clone()}
        )

    def result(self, task: Task, state: State) -> SyntheticData:
        raise NotImplementedError


def closeness(state: State) -> dict[str, float]:
    return {"mean": 1 / (1 + float((state.learned["x"] - TARGET).norm())), "sd": 0.0, "n": 1}


def run(
    folder: Path,
    *,
    events: Mapping | None = None,
    resume: bool = False,
    settings: LoopSettings = SETTINGS,
    **changes: float,
) -> RunState:
    folder.mkdir(exist_ok=True)
    method = Noisy(events=events or {}, **changes)
    task = toy_task()
    state = load(folder / "checkpoint.pt") if resume else first_state(method, method.init(task))
    return optimise(method, task, state, settings, folder, validate=closeness)


def interrupt(signum: int = signal.SIGINT):
    return lambda: os.kill(os.getpid(), signum)


def assert_same_end(one: RunState, other: RunState) -> None:
    for name in ("learned", "averaged", "best"):
        for key, value in getattr(one, name).items():
            assert torch.equal(value, getattr(other, name)[key]), (name, key)
    assert (one.iteration, one.best_mean, one.best_iteration) == (
        other.iteration,
        other.best_mean,
        other.best_iteration,
    )


def without_seconds(folder: Path) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_lines(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunState, Path]:
    """A run that nothing stopped, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(folder), folder


@pytest.mark.parametrize(
    ("stop", "signum"), [*((i, signal.SIGINT) for i in range(12)), *((i, signal.SIGTERM) for i in (0, 5, 11))]
)
def test_stopped_anywhere_and_resumed_ends_where_it_would_have(
    tmp_path: Path, whole: tuple[RunState, Path], stop: int, signum: int
) -> None:
    with pytest.raises(Stopped) as stopped:
        run(tmp_path / "parts", events={stop: interrupt(signum)})
    assert (stopped.value.iteration, stopped.value.signum) == (stop + 1, signum)
    assert_same_end(run(tmp_path / "parts", resume=True), whole[0])
    assert without_seconds(tmp_path / "parts") == without_seconds(whole[1])


@pytest.mark.parametrize("stop", range(12))
def test_killed_anywhere_and_resumed_ends_where_it_would_have(
    tmp_path: Path, whole: tuple[RunState, Path], stop: int
) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "parts", events={stop: kill})
    assert load(tmp_path / "parts" / "checkpoint.pt").iteration == stop // 3 * 3
    assert_same_end(run(tmp_path / "parts", resume=True), whole[0])
    assert without_seconds(tmp_path / "parts") == without_seconds(whole[1])


def test_it_is_adam_with_the_schedule_and_the_average(tmp_path: Path) -> None:
    settings = LoopSettings(iterations=30, betas=(0.9, 0.99), average=0.5, validate_every=30)
    state = run(tmp_path, settings=settings)
    method, x = Noisy(), torch.zeros(3)
    first, second, average = torch.zeros(3), torch.zeros(3), torch.zeros(3)
    for t in range(30):
        g = method.step(toy_task(), State(learned={"x": x, "y": torch.ones(1)}), t).gradients["x"][0]
        first, second = 0.9 * first + 0.1 * g, 0.99 * second + 0.01 * g * g
        rate = 0.1 * 0.5 * (1 + math.cos(math.pi * t / 30))
        x = x - rate * (first / (1 - 0.9 ** (t + 1))) / ((second / (1 - 0.99 ** (t + 1))).sqrt() + 1e-8)
        keep = min(0.5, (1 + t) / (10 + t))
        average = keep * average + (1 - keep) * x
    torch.testing.assert_close(state.learned["x"], x)
    torch.testing.assert_close(state.averaged["x"], average)


@dataclass(frozen=True, kw_only=True)
class Rolling(Noisy):
    """The quadratic with gradient descent with momentum for x, whose latest value is taken, and Adam for y."""

    name: ClassVar[str] = "rolling"

    def rates(self) -> Mapping[str, OuterRate]:
        return {"x": OuterRate(rate=0.1, rule="sgd", momentum=0.5, average=False), "y": OuterRate(rate=0.01)}


def test_a_tensor_can_have_gradient_descent_with_momentum_and_no_average(tmp_path: Path) -> None:
    method, settings = Rolling(), LoopSettings(iterations=7, schedule="exponential", validate_every=7)
    end = optimise(
        method, toy_task(), first_state(method, method.init(toy_task())), settings, tmp_path, validate=closeness
    )
    x, velocity = torch.zeros(3), torch.zeros(3)
    for t in range(7):
        update = method.step(toy_task(), State(learned={"x": x, "y": torch.ones(1)}), t)
        velocity = 0.5 * velocity + update.gradients["x"][0]
        x = x - 0.1 * 30 ** (-t / 7) * velocity
    torch.testing.assert_close(end.learned["x"], x)
    assert torch.equal(end.averaged["x"], end.learned["x"])
    assert not torch.equal(end.averaged["y"], end.learned["y"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "sgd", "momentum": 1.0}, r"momentum is 1\.0"),
        ({"momentum": 0.5}, r"momentum is 0\.5, but has no effect with rule adam; take rule sgd"),
    ],
)
def test_impossible_outer_rates_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        OuterRate(rate=0.1, **change)


class Odd(Noisy):
    """Gives and carries what a test sets."""

    name: ClassVar[str] = "odd"
    gives: ClassVar[dict] = {}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        return replace(super().step(task, state, iteration), **self.gives)


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        ({"gradients": {"x": torch.zeros(1, 3)}}, "gives gradients of .'x': .3,.., but has rates for tensors of"),
        ({"gradients": {"x": torch.ones(3), "y": torch.ones(1, 1)}}, r"the shape \(networks, \*shape\)"),
        ({"carried": {"a": [torch.ones(2), {"b": object()}]}}, r"method odd carries .*\.a\[1\]\.b is <object"),
        (
            {"carried": {"a": torch.tensor([1.0, math.nan])}},
            r"carries to the next iteration\.a holds values that are not",
        ),
    ],
)
def test_what_a_method_must_not_give_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gives: dict, message: str
) -> None:
    method, task = Odd(), toy_task()
    monkeypatch.setattr(Odd, "gives", gives)
    state = first_state(method, method.init(task))
    with pytest.raises(UserError, match=message):
        optimise(method, task, state, SETTINGS, tmp_path, validate=closeness)


def test_the_best_validated_average_is_kept(tmp_path: Path) -> None:
    settings = LoopSettings(iterations=60, validate_every=10, schedule="constant")
    state = run(tmp_path, settings=settings, events={i: lambda: -5.0 for i in range(30, 60)})
    validations = {
        r["iteration"]: r["validation"]["mean"] for r in read_lines(tmp_path / "metrics.jsonl") if "validation" in r
    }
    assert list(validations) == [10, 20, 30, 40, 50, 60]
    assert state.best_mean == max(validations.values()) == validations[state.best_iteration]
    assert state.best_iteration < 60
    assert closeness(state.kept)["mean"] == state.best_mean


def test_limited_scales_down_only_what_is_too_long_and_drops_what_is_not_finite() -> None:
    each = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
    norms = each.norm(dim=1)
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(limited(each, norms, 1.0), expected)
    torch.testing.assert_close(limited(each[:3], norms[:3], math.inf), each[:3])


def test_a_gradient_far_above_the_median_norm_counts_as_one_at_the_limit(tmp_path: Path) -> None:
    """Gradients 1000 and 100000 times too long move the run alike, and not as far as without the limit."""
    clipped, free = (
        [run(tmp_path / f"{clip}-{f}", events={11: lambda f=f: f}, clip=clip).learned["x"] for f in (1e3, 1e5)]
        for clip in (0.5, 0.0)
    )
    torch.testing.assert_close(clipped[0], clipped[1])
    assert not torch.allclose(free[0], free[1])


def test_an_iteration_without_a_finite_gradient_changes_nothing(tmp_path: Path) -> None:
    state = run(tmp_path / "a", events={11: lambda: float("nan")})
    short = run(tmp_path / "b", settings=LoopSettings(iterations=12), events={11: lambda: float("inf")})
    assert torch.equal(state.learned["x"], short.learned["x"])
    assert read_lines(tmp_path / "a" / "metrics.jsonl")[-2]["skipped"] == 1


def test_a_diverging_run_stops_where_it_happened_with_the_last_good_state(tmp_path: Path) -> None:
    settings = LoopSettings(iterations=100, checkpoint_every=1000)
    with pytest.raises(DivergedError, match=r"last 20 iterations up to 26 gave no finite gradient .*checkpoint\.pt"):
        run(tmp_path, settings=settings, events={i: lambda: float("nan") for i in range(6, 100)})
    kept = load(tmp_path / "checkpoint.pt")
    assert kept.learned["x"].isfinite().all()
    assert kept.iteration == 25
    assert float((kept.learned["x"] - TARGET).norm()) < float(TARGET.norm()), "six good iterations were kept"


def test_values_that_are_not_finite_are_never_saved_as_good(tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"the x are not finite after iteration 1; start a new run .*; the last good"
    ):
        run(tmp_path, rate=math.inf)
    with pytest.raises(DivergedError, match=r"the x reach .*e\+\d+ after iteration 1; start a new run with lower"):
        run(tmp_path / "large", rate=1e30)
    kept = load(tmp_path / "checkpoint.pt")
    assert kept.iteration == 0
    assert torch.equal(kept.learned["x"], torch.zeros(3))


@pytest.mark.parametrize("iterations", [2, 100])
def test_gradients_that_are_zero_from_the_first_iteration_on_end_the_run(tmp_path: Path, iterations: int) -> None:
    settings = LoopSettings(iterations=iterations)
    zero = {i: lambda: 0.0 for i in range(100)}
    with pytest.raises(UserError, match=rf"x were exactly zero in the first {min(iterations, 5)} iterations"):
        run(tmp_path / "zero", settings=settings, events=zero)
    moved = {i: value for i, value in zero.items() if i != 1}
    assert run(tmp_path / "one moves", settings=settings, events=moved).iteration == iterations


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, events={3: interrupt()})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(datastill.storage.files.os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            run(tmp_path, resume=True)
    assert load(tmp_path / "checkpoint.pt").iteration == 4
    assert_same_end(run(tmp_path, resume=True), run(tmp_path / "whole"))


def test_signals_are_handed_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(tmp_path)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_broken_and_missing_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        run(tmp_path, resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"is not a whole file of torch\.save"):
        run(tmp_path, resume=True)


def test_schedules_start_at_one_and_fall_as_they_say() -> None:
    constant, cosine, exponential = (
        [LoopSettings(iterations=100, schedule=name).factor(i) for i in range(101)]
        for name in ("constant", "cosine", "exponential")
    )
    assert constant == [1.0] * 101
    assert cosine[0] == exponential[0] == 1.0
    assert cosine[50] == pytest.approx(0.5)
    assert cosine[100] == pytest.approx(0)
    assert exponential[100] == pytest.approx(1 / 30)
    ratios = [b / a for a, b in pairwise(exponential)]
    assert max(ratios) == pytest.approx(min(ratios))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"validate_every": 0}, "validate_every is 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"average": 1.0}, r"average is 1\.0"),
        ({"betas": (1.0, 1.0)}, "betas are"),
        ({"betas": (0.9, math.nan)}, r"betas\[1\] is nan"),
    ],
)
def test_impossible_settings_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LoopSettings(**change)
