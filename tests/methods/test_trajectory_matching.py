"""Trajectory matching: its objective in cases that are known, its derivatives, and its experts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from datastill.errors import UserError
from datastill.methods import State, Task
from datastill.methods.trajectory_matching import TrajectoryMatching
from datastill.program import Program, Shuffled, train_stack
from datastill.rng import derive
from datastill.synthetic import basis, raw
from datastill.training import mean_loss

from ..toys import toy_data, toy_task

DATA = toy_data().in_precision(torch.float64)


def small(experts: Path, **settings: Any) -> TrajectoryMatching:
    given = {"ipc": 2, "steps": 5, "batch": 4, "coordinates": "principal", "labels_rate": 0.01} | settings
    return TrajectoryMatching(experts=str(experts), **given)


def with_path(monkeypatch: pytest.MonkeyPatch, begin: Tensor, end: Tensor) -> None:
    """Take an expert with two snapshots."""
    pool = SimpleNamespace(drawn=begin[None], steps=(0, 1), weights=lambda _, snapshot: (begin, end)[snapshot])
    monkeypatch.setattr(TrajectoryMatching, "_pool", lambda *_: pool)


def first_weights(task: Task) -> Tensor:
    return task.draws(0, 0, range(1))[0].double()


def test_an_expert_that_trained_on_the_examples_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy_task(data=DATA)
    method = small(Path("any"), apart=1, labels_rate=0.0, augment="none", step_size=0.1)
    state, begin = method.init(task), first_weights(task)
    examples = basis(DATA, "principal").examples(state.learned["examples"])
    labels = torch.arange(3).repeat_interleave(2)
    program = Program(order=Shuffled(epochs=3, batch=4, step_size=0.1, schedule="constant"))
    weights = train_stack(mean_loss(task.network), begin[None], examples, labels, program, derive(0, "training", 7))
    end = [theta for (theta,) in weights][method.steps - 1]
    with_path(monkeypatch, begin, end)
    update = method.step(task, state, 7)
    assert update.objective < 1e-12
    assert float(update.gradients["examples"].abs().max()) < 1e-6
    assert replace(method, steps=4).step(task, state, 7).objective > 1e-3


def test_an_expert_that_did_not_move_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    task, method = toy_task(data=DATA), small(Path("any"), apart=1)
    begin = first_weights(task)
    with_path(monkeypatch, begin, begin.clone())
    with pytest.raises(UserError, match="snapshots 0 and 1 of network 0 in any are equal: the expert did not learn"):
        method.step(task, method.init(task), 0)


def test_without_moving_the_distance_is_that_of_the_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    task, method = toy_task(data=DATA), small(Path("any"), apart=1, step_size=1e-9)
    begin = first_weights(task)
    with_path(monkeypatch, begin, begin + 0.1)
    assert method.step(task, method.init(task), 0).objective == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("mode", ["stored", "recomputed"])
def test_the_gradients_are_those_of_finite_differences(mode: str, experts: Path) -> None:
    task, method, small_step = toy_task(data=DATA), small(experts, mode=mode, step_size=0.2), 1e-5
    state, draw = method.init(task), torch.Generator().manual_seed(0)
    update = method.step(task, state, 0)
    for name, value in state.learned.items():
        along = torch.randn(value.shape, generator=draw, dtype=torch.float64)
        ahead, behind = (
            method.step(task, State(learned=state.learned | {name: value + sign * small_step * along}), 0)
            for sign in (1, -1)
        )
        expected = (ahead.objective - behind.objective) / (2 * small_step)
        assert float((update.gradients[name][0] * along).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-10), name


def test_learning_comes_nearer_to_the_experts(experts: Path) -> None:
    task, method = toy_task(data=DATA), small(experts, step_size=0.2)
    state = method.init(task)
    before = sum(method.step(task, state, i).objective for i in range(5))
    for i in range(40):
        gradients = method.step(task, state, i).gradients
        moved = {name: value - 0.05 * gradients[name][0] for name, value in state.learned.items()}
        state = State(learned=moved)
    assert sum(method.step(task, state, i).objective for i in range(5)) < 0.95 * before


def test_the_step_size_that_was_learned_can_be_that_of_the_set(experts: Path) -> None:
    task, method = toy_task(data=DATA), small(experts, program="learned", mirror=False)
    state = method.init(task)
    state = State(learned=state.learned | {"step_size": raw(torch.full((1,), 0.125, dtype=torch.float64))})
    program = method.result(task, state).program
    assert isinstance(program.order, Shuffled)
    assert program.order.step_size == pytest.approx(0.125)
    assert program.order.batch == 4


def test_experts_are_asked_for_and_recognised(experts: Path) -> None:
    task = toy_task()
    with pytest.raises(UserError, match="experts are missing; name a pool with --method"):
        TrajectoryMatching().check(task)
    with pytest.raises(UserError, match="has 5 snapshots, but apart is 5"):
        small(experts, apart=5).check(task)
    others = replace(task, data=replace(task.data, class_names=("c", "b", "a")))
    with pytest.raises(UserError, match=r"were trained on the classes .*, but the data has c, b, a; give experts of"):
        small(experts).check(others)
    planned = small(experts).planned(task, 10)
    planned.check(task)
    with pytest.raises(UserError, match="is not the pool that the run began with"):
        replace(planned, experts_sha256="0" * 64).check(task)
