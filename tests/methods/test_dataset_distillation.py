"""Dataset distillation: gradients by finite differences, limits, independence of how the networks are batched."""

from dataclasses import replace

import pytest
import torch

from datastill.errors import UserError
from datastill.methods import State
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.training import PLAIN, Unroll

from ..toys import toy_task, unrolled

PLAINLY = Unroll(networks=3, engine=PLAIN)
SMALL = DatasetDistillation(ipc=2, steps=2, epochs=2, real_batch=32, step_size=0.1, unroll=PLAINLY)


LABELLED = replace(SMALL, labels_rate=0.1)


@pytest.mark.parametrize("method", [SMALL, LABELLED], ids=["hard labels", "learned labels"])
def test_the_gradient_is_that_of_the_objective_it_reports(method: DatasetDistillation) -> None:
    task = toy_task()
    state = method.init(task)
    learned = state.learned
    update = method.step(task, state, 3)
    assert ("labels" in learned) == (method is LABELLED)
    draw = torch.Generator().manual_seed(0)
    for name in learned:
        direction = torch.randn(learned[name].shape, generator=draw)
        direction /= direction.norm()
        slope = float((update.gradients[name].mean(0) * direction).sum())
        ends = [
            method.step(task, State(learned=learned | {name: learned[name] + sign * 1e-2 * direction}), 3).objective
            for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_a_network_is_the_same_however_many_there_are() -> None:
    """Network i of an iteration draws the same weights and real batch, and so has the same gradient."""
    task = toy_task()
    state = SMALL.init(task)
    three, one = (unrolled(SMALL, networks=n).step(task, state, 0) for n in (3, 1))
    for name in state.learned:
        torch.testing.assert_close(three.gradients[name][:1], one.gradients[name])
        assert not torch.allclose(three.gradients[name][1], one.gradients[name][0])


def test_both_modes_give_the_same_gradient() -> None:
    task = toy_task()
    state = SMALL.init(task)
    stored, recomputed = (
        unrolled(SMALL, engine=replace(PLAIN, mode=mode, together=2)).step(task, state, 0)
        for mode in ("stored", "recomputed")
    )
    for name in state.learned:
        torch.testing.assert_close(stored.gradients[name], recomputed.gradients[name])


def test_a_window_leaves_out_what_lies_before_it_and_after_it() -> None:
    """Of four steps the window sees two: the other step sizes have no gradient, and all windows get their turn."""
    task = toy_task()
    windowed = unrolled(SMALL, window=2)
    state = windowed.init(task)
    seen = set()
    for iteration in range(12):
        step_sizes = windowed.step(task, state, iteration).gradients["step_sizes"].flatten(1)
        (inside,) = {tuple(row) for row in (step_sizes != 0).tolist()}  # the same window for all networks
        seen.add(tuple(i for i, one in enumerate(inside) if one))
    assert seen == {(0, 1), (1, 2), (2, 3)}
    whole = unrolled(SMALL, window=4).step(task, state, 0)
    for name, gradient in SMALL.step(task, state, 0).gradients.items():
        torch.testing.assert_close(whole.gradients[name], gradient)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unroll": Unroll(window=5)}, "window is 5, but the program has 4 gradient steps"),
        ({"real_batch": 0}, "real_batch is 0"),
        ({"examples_clip": -1.0}, "examples_clip is -1"),
        ({"labels_rate": -0.1}, "labels_rate is -0.1"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_impossible_settings_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize("change", [{"window": -1}, {"networks": 0}])
def test_impossible_ways_to_unroll_are_named(change: dict) -> None:
    (name,) = change
    with pytest.raises(UserError, match=f"{name} is "):
        Unroll(**change)
