"""What a plan says is what happens, and what is chosen is possible, fits, and is the fastest way where that pays."""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

import datastill.planner
import datastill.timing
import datastill.training.engine
import datastill.training.precision
from datastill.costs import Cost
from datastill.errors import UserError
from datastill.planner import (
    COMPILES_FROM,
    GAIN,
    MEASURES_FROM,
    choose,
    plan,
)
from datastill.timing import Timing, measure, of_seconds
from datastill.training import Engine, Untraceable
from datastill.trial import Unrolled

from .planning import BRANCHING, GIB, LONG, MEMORY, METHOD, PLAINEST, TIGHT, Variant, costing, given
from .toys import unrolled


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how much memory is free, where every iteration takes `MEMORY`."""

    def said(count: int) -> None:
        monkeypatch.setattr(datastill.planner, "free_bytes", lambda _: count)
        monkeypatch.setattr(datastill.planner, "costs", costing(MEMORY))

    return said


@pytest.fixture
def plenty(free: Callable[[int], None]) -> None:
    free(100 * GIB)


@pytest.fixture
def no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    def traced(*_: object, **__: object) -> None:
        raise AssertionError("steps were traced")

    monkeypatch.setattr(datastill.training.engine, "TracedSteps", traced)


def chosen(trial: Unrolled, iterations: int) -> Engine:
    """The engine that is chosen; nothing else is."""
    found = choose(trial, iterations)
    assert found == replace(trial.unroll, engine=found.engine)
    return found.engine


# --- what is chosen


@pytest.mark.usefixtures("no_traces", "plenty")
def test_a_short_run_takes_the_plainest_way_and_traces_nothing() -> None:
    assert chosen(given(), 6) == PLAINEST
    assert chosen(given(engine=Engine(together=2)), 6) == replace(PLAINEST, together=2)
    forward = Engine(execution="forward", mode="recomputed", precision="bfloat16", keep_every=2)
    assert chosen(given(engine=forward), 6) == replace(forward, together=3)


@pytest.mark.usefixtures("plenty")
def test_a_way_that_leaves_nothing_open_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Engine] = []

    def measured(_: object, ways: list[Engine], rounds: int) -> list[Timing]:
        assert rounds == 0  # once, to see that it can be done
        tried.extend(ways)
        return [Timing(engine=ways[0], first=1.0, seconds=math.inf)]

    monkeypatch.setattr(datastill.planner, "measure", measured)
    for mode, execution in itertools.product(("stored", "recomputed"), ("eager", "forward", "compiled")):
        asked = Engine(mode=mode, execution=execution, together=2, precision="float32")
        assert chosen(given(engine=asked), LONG) == asked
        assert tried.pop() == asked


def test_a_mode_that_was_asked_for_and_does_not_fit_is_refused_before_a_run(
    monkeypatch: pytest.MonkeyPatch, free: Callable
) -> None:
    free(TIGHT)
    for engine in (Engine(mode="stored"), PLAINEST):
        with pytest.raises(UserError, match=r"mode 'stored' needs about 10.0 GiB, .*; take mode=recomputed"):
            chosen(given(engine=engine), 1)
    assert chosen(given(), 1) == replace(PLAINEST, mode="recomputed")
    free(100 * GIB)
    assert chosen(given(), 1) == PLAINEST
    assert chosen(given(engine=PLAINEST), 1) == PLAINEST


def test_what_is_chosen_fits_into_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datastill.costs, "cost", lambda made: Cost(memory=GIB * made.unroll.engine.together, operations=1)
    )
    monkeypatch.setattr(datastill.planner, "free_bytes", lambda _: TIGHT)

    def of_nothing(engine: Engine | None = None) -> Unrolled:
        return replace(given(engine=engine), variant=Variant)

    assert GIB * chosen(of_nothing(), 6).together <= TIGHT
    told = plan(of_nothing(), 6)
    assert {timing.engine.together for timing in told.timings} == {1}, "what a run would do"
    assert max(told.memory.values()) == GIB
    with pytest.raises(UserError, match=r"needs about 3.0 GiB, but 2.0 GiB .*take fewer networks together"):
        chosen(of_nothing(Engine(together=3)), 6)


@pytest.mark.usefixtures("plenty")
class TestALongRun:
    """Ways are timed where there is time to gain."""

    tried: list[Engine]
    half: float
    """Seconds in bfloat16 for a second in float32."""
    slow: str
    """What the probe says of bfloat16."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Seconds of an iteration by execution and number of networks together, in place of measured ones."""
        self.tried, self.half, self.slow = [], 1.0, ""
        self.seconds: dict[tuple[str, int], float] = {
            ("eager", 1): 2.0,
            ("eager", 3): 3.0,
            ("traced", 1): 1.5,
            ("traced", 3): 0.1,
            ("compiled", 1): 1.0,
            ("compiled", 3): 0.1,
        }

        def measured(_: object, ways: list[Engine], rounds: int = 3, **__: object) -> list[Timing]:
            self.tried += ways
            return sorted((Timing(engine=way, first=9.0, seconds=self.took(way)) for way in ways), key=of_seconds)

        monkeypatch.setattr(datastill.planner, "measure", measured)
        monkeypatch.setattr(datastill.planner, "slow", lambda _, precision: self.slow)

    def took(self, way: Engine) -> float:
        return self.seconds[way.execution, way.together] * (self.half if way.precision == "bfloat16" else 1)

    def executions(self) -> set[str]:
        return {way.execution for way in self.tried}

    def test_takes_the_fastest_way_compiled_where_that_is_it(self) -> None:
        assert chosen(given(), 1000) == replace(PLAINEST, execution="compiled", together=1)
        assert {(way.mode, way.together) for way in self.tried} == {("stored", 1), ("stored", 3)}

    def test_does_not_take_a_compiled_step_that_is_no_faster(self) -> None:
        self.seconds["compiled", 1] = 1.6
        assert chosen(given(), 1000).execution == "traced"
        self.seconds["traced", 1] = 2.1
        self.seconds["compiled", 1] = 2.2
        assert chosen(given(), 1000) == replace(PLAINEST, together=1)

    def test_compiles_only_where_that_pays(self) -> None:
        best = 2.0  # of the plain ways
        assert chosen(given(), int(COMPILES_FROM / best)).execution == "traced"
        assert self.executions() == {"eager", "traced"}
        assert chosen(given(), int(COMPILES_FROM / best) + 1).execution == "compiled"

    def test_measures_only_where_that_pays(self) -> None:
        together = 3.0  # seconds of the plainest way
        assert chosen(given(), int(MEASURES_FROM / together) - 1) == PLAINEST
        assert self.tried == [PLAINEST]
        assert chosen(given(), int(MEASURES_FROM / together)) != PLAINEST

    def test_leaves_alone_what_was_asked_for(self) -> None:
        assert chosen(given(engine=Engine(execution="eager")), LONG) == replace(PLAINEST, together=1)
        assert self.executions() == {"eager"}
        together = chosen(given(engine=Engine(together=3, mode="recomputed")), LONG)
        assert together.together == 3
        assert {(way.together, way.mode) for way in self.tried[-3:]} == {(3, "recomputed")}

    def test_takes_bfloat16_where_it_is_faster_by_more_than_its_rounding_is_worth(self) -> None:
        for self.half, precision in ((GAIN, "bfloat16"), (GAIN + 0.01, "float32"), (3.0, "float32")):
            assert chosen(given(), 1000) == replace(PLAINEST, execution="compiled", together=1, precision=precision)
        assert [way.precision for way in self.tried].count("bfloat16") == 3, "of the best way alone"

    def test_does_not_try_bfloat16_where_products_are_slow_in_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.half, self.slow = 0.1, "products in bfloat16 run at 1 GFLOP/s on this machine"
        assert chosen(given(), 1000).precision == "float32"
        assert {way.precision for way in self.tried} == {"float32"}
        assert "not bfloat16: products in bfloat16 run at 1 GFLOP/s" in capsys.readouterr().err

    @pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
    def test_keeps_the_precision_that_was_asked_for_and_warns_where_it_is_slow(
        self, precision: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.slow = "products run at 1 GFLOP/s"
        assert chosen(given(engine=Engine(precision=precision)), 1000).precision == precision
        assert {way.precision for way in self.tried} == {precision}
        assert "warning: products run at 1 GFLOP/s; take --method.engine.precision auto" in capsys.readouterr().err

    def test_takes_the_least_work_that_fits(self, free: Callable) -> None:
        free(TIGHT)
        assert chosen(given(), 1000).mode == "recomputed"
        assert {way.mode for way in self.tried} == {"recomputed"}

    def test_is_told_by_a_plan_with_every_way_fastest_first(self) -> None:
        self.seconds["traced", 1] = 5.0
        found = plan(given(), 1000)
        assert [timing.seconds for timing in found.timings] == sorted(timing.seconds for timing in found.timings)
        assert found.timings[0].engine == replace(PLAINEST, together=1)
        assert "compiled" not in {timing.engine.execution for timing in found.timings}, "which takes minutes"
        assert {timing.engine.mode for timing in found.timings} == {"stored", "recomputed"}


@pytest.mark.usefixtures("plenty")
def test_a_network_that_cannot_be_traced_is_computed_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Engine] = []

    def measured(trial: Unrolled, ways: list[Engine], rounds: int = 1, **_: object) -> list[Timing]:
        asked.extend(ways)
        return measure(trial, ways, 1)

    monkeypatch.setattr(datastill.planner, "measure", measured)
    monkeypatch.setattr(datastill.planner, "MEASURES_FROM", 0.0)
    method = replace(unrolled(METHOD, networks=1), epochs=1)
    assert chosen(given(BRANCHING, method), 1).execution == "eager"
    assert "traced" in {way.execution for way in asked}


@pytest.mark.usefixtures("plenty")
def test_a_network_that_cannot_be_traced_is_refused_where_it_must_be() -> None:
    engine = replace(PLAINEST, execution="traced")
    with pytest.raises(Untraceable, match=r"cannot be traced here .* take execution=eager, or auto"):
        plan(given(BRANCHING, engine=engine), 1)


def test_ways_take_turns_and_the_least_time_of_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, impossible = (replace(PLAINEST, execution=each) for each in ("eager", "forward", "traced"))
    took = iter([9.0, 8.0, 2.0, 5.0, 4.0, 1.0, 3.0, 7.0])  # the first of each, then three rounds
    calls: list[Engine] = []

    def seconds(made: Variant, _: object) -> float:
        if made.unroll.engine == impossible:
            raise Untraceable("steps cannot be traced here")
        calls.append(made.unroll.engine)
        return next(took)

    monkeypatch.setattr(datastill.timing, "seconds_of", seconds)
    found = measure(replace(given(), variant=Variant), [one, impossible, other])
    assert calls == [one, other] * 4
    assert found == [
        Timing(engine=other, first=8.0, seconds=1.0),
        Timing(engine=one, first=9.0, seconds=2.0),
    ]
    with pytest.raises(Untraceable):
        measure(replace(given(), variant=Variant), [impossible])
    assert measure(replace(given(), variant=Variant), [impossible], needed=False) == []


def calls_of(monkeypatch: pytest.MonkeyPatch, took: dict[str, float]) -> list[str]:
    """The executions that are called, each of which takes the seconds given, on a clock of its own."""
    calls: list[str] = []
    now = 0.0

    def seconds(made: Variant, _: object) -> float:
        nonlocal now
        execution = made.unroll.engine.execution
        calls.append(execution)
        now += took[execution]
        return took[execution]

    monkeypatch.setattr(datastill.timing, "seconds_of", seconds)
    monkeypatch.setattr(datastill.timing.time, "perf_counter", lambda: now)
    return calls


WAYS = [replace(PLAINEST, execution=each) for each in ("eager", "forward", "traced")]


def test_a_way_that_takes_ten_times_as_long_as_the_best_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(monkeypatch, {"eager": 1.0, "forward": 10.1, "traced": 20.0})
    found = measure(replace(given(), variant=Variant), WAYS)
    # the first call of traced steps also traces, so that it says nothing; the second one does
    assert calls == ["eager", "forward", "traced", "eager", "traced", "eager", "eager"]
    assert [(timing.engine.execution, timing.seconds) for timing in found] == [
        ("eager", 1.0), ("forward", 10.1), ("traced", 20.0),
    ]  # fmt: skip


def test_measuring_ends_in_time_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = calls_of(monkeypatch, {"eager": 5.0, "forward": 4.0, "traced": 3.0})
    # after two calls 9 s are gone, and another one takes 4 s
    found = measure(replace(given(), variant=Variant), WAYS, until=10.0)
    assert calls == ["eager", "forward"]
    assert [timing.seconds for timing in found] == [4.0, 5.0]
    assert "not measured, because there is no time: traced steps" in capsys.readouterr().err


def test_a_plan_measures_one_way_however_late_it_is(
    monkeypatch: pytest.MonkeyPatch, free: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    free(100 * GIB)
    monkeypatch.setattr(datastill.planner, "slow", lambda *_: "")
    calls = calls_of(monkeypatch, {"eager": 7.0, "traced": 7.0})
    found = plan(replace(given(), variant=Variant), LONG, until=-1.0)
    assert calls == ["eager"]
    assert [timing.seconds for timing in found.timings] == [7.0]
    told = capsys.readouterr().err
    for way in ("traced steps, stored", "eager steps, recomputed", "bfloat16"):
        assert re.search(rf"not measured, because there is no time: .*{way}", told), way


def test_a_plan_of_a_long_iteration_measures_a_few_of_its_steps_and_counts_up(
    monkeypatch: pytest.MonkeyPatch, plenty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight times as many operations take eight times as long."""
    engine = Engine(mode="stored", together=1, precision="float32")
    trial = replace(given(engine=engine), variant=Variant, steps=1, epochs=40)
    monkeypatch.setattr(datastill.planner, "costs", lambda _: {"stored": Cost(memory=GIB, operations=8000)})
    monkeypatch.setattr(datastill.planner, "cost", lambda _: Cost(memory=GIB, operations=1000))
    calls = calls_of(monkeypatch, {"eager": 2.0, "traced": 1.0})
    assert [timing.seconds for timing in plan(trial, 10, until=50.0).timings] == [8.0, 16.0]
    assert "measuring iterations of 4 gradient steps instead" in capsys.readouterr().err
    del calls[:]
    assert plan(trial, 10, until=1000.0).timings[0].seconds == 1.0


# --- precision


@pytest.mark.usefixtures("plenty")
def test_a_plan_is_what_is_there_and_says_so() -> None:
    found = plan(given(engine=Engine(execution="eager", precision="float32")), 100)
    assert found.parameters == 16 * 8 + 8 + 8 * 3 + 3
    assert found.operations == 10**9
    assert (found.memory, found.available) == (MEMORY, 100 * GIB)
    ways = {(timing.engine.mode, timing.engine.together) for timing in found.timings}
    assert ways == {("stored", 1), ("stored", 3), ("recomputed", 1), ("recomputed", 3)}
    assert 0 < min(timing.seconds for timing in found.timings) == found.timings[0].seconds
