"""Dataset distillation in shuffled, augmented batches and windows: exact gradients, in float64, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from datastill import load_rows
from datastill.errors import UserError
from datastill.methods import State, Task
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks import build
from datastill.networks.start import Random
from datastill.program import AUGMENTATIONS, Program, Shuffled, Siamese, optimiser
from datastill.rng import derive, generator
from datastill.synthetic import SyntheticData
from datastill.training import Engine, TracedSteps, Unroll

from ..toys import toy_data

ENGINE = Engine(mode="stored", execution="eager", together=1, precision="float64")
METHOD = DatasetDistillation(
    ipc=2,
    steps=1,
    epochs=4,
    batch=4,
    augment="siamese",
    labels_rate=0.1,
    step_size=0.3,
    optimiser="momentum",
    real_batch=16,
    coordinates="pixels",
    unroll=Unroll(networks=2, window=5, engine=ENGINE),
)
"""Six examples: two batches, of four and two, in each of four epochs, so that there are eight gradient steps."""
LENGTH, SEED = 8, 0
AugmentReal = Literal["none", "own", "same", "affine"]


def task_of(warm_start: SyntheticData | None = None) -> Task:
    """Toy data and a smooth network, in float64."""
    data = toy_data().in_precision(torch.float64)
    network = build("tests.problems:smooth", shape=data.shape, classes=data.classes)
    draws = Random().bound(network, seed=SEED)
    return Task(data=data, network=network, draws=draws, seed=SEED, warm_start=warm_start)


def moved(state: State) -> State:
    """A state in which no two examples or labels are alike."""
    draw = torch.Generator().manual_seed(1)
    return State(
        learned={name: each + 0.3 * torch.randn(each.shape, generator=draw) for name, each in state.learned.items()}
    )


def real(method: DatasetDistillation, task: Task, program: Program, last: int, i: int) -> tuple[Tensor, Tensor]:
    """The real batch of network i in iteration 0, where the last gradient step of the window has this seed."""
    images, labels = task.data.batch(generator(SEED, "real batch", 0, i), method.real_batch)
    if method.augment_real == "none":
        return images, labels
    draw = generator(last, "draw") if method.augment_real == "same" else None
    draw = draw or generator(SEED, "augmentation of real images", 0, i)
    augmentation = AUGMENTATIONS.get(method.augment_real, program.augmentation)
    assert augmentation
    return augmentation.draw(method.real_batch, (1, 4, 4), draw)(images), labels


def by_one_graph(method: DatasetDistillation, task: Task, learned: dict[str, Tensor], window: range) -> Iterator:
    """Objective and gradients of each network by one graph through the whole training, in the fewest words."""
    for i in range(method.networks):
        ours = {name: each.clone().requires_grad_() for name, each in learned.items()}
        program = Program(
            order=Shuffled(epochs=4, batch=4, step_size=1.0, schedule="constant"),
            augmentation=Siamese(shared=method.augment_real == "same"),
        )
        steps = list(program.steps(6, derive(SEED, "training", 0)))[: window.stop]
        rule, size = optimiser(method.optimiser), softplus(ours["step_sizes"])[0, 0]
        state = rule.start(task.draws(SEED, 0, range(i, i + 1)).double().requires_grad_())
        for t, step in enumerate(steps):
            if t == window.start:
                state = tuple(each.detach().requires_grad_() for each in state)
            x = program.changed(ours["examples"][0][step.which], step)
            y = ours["labels"][0].softmax(-1)[step.which]
            loss = cross_entropy(task.network.apply(state[0][0], x), y)
            (gradient,) = torch.autograd.grad(loss, state[0], create_graph=True)
            state = rule.update(state, gradient, size, t)
        images, labels = real(method, task, program, steps[-1].seed, i)
        objective = cross_entropy(task.network.apply(state[0][0], images), labels)
        yield objective.detach(), dict(zip(ours, torch.autograd.grad(objective, list(ours.values())), strict=True))


WAYS = [
    ("eager", "stored", "none"),
    ("eager", "stored", "own"),
    ("eager", "recomputed", "same"),
    ("forward", "recomputed", "own"),
    ("traced", "stored", "same"),
    ("eager", "stored", "affine"),
]
"""Each way to compute, and each augmentation of real images, of which a way to compute knows nothing."""


@pytest.mark.parametrize(("execution", "mode", "augment_real"), WAYS, ids=map(" ".join, WAYS))
def test_the_gradient_is_that_of_one_graph_through_everything(
    execution: Any, mode: Any, augment_real: AugmentReal
) -> None:
    engine = replace(ENGINE, execution=execution, mode=mode, together=2)
    method = replace(METHOD, augment_real=augment_real, unroll=replace(METHOD.unroll, engine=engine))
    task = task_of()
    state = moved(method.init(task))
    window = method.unroll.drawn_window(LENGTH, generator(SEED, "window", 0), 0)
    assert window.start > 0, "some steps lie before the window"
    found = method.step(task, state, 0)
    objectives, expected = zip(*by_one_graph(method, task, state.learned, window), strict=True)
    assert found.objective == pytest.approx(float(torch.stack(objectives).mean()), rel=1e-9)
    assert found.gradients.keys() == state.learned.keys() == {"examples", "labels", "step_sizes"}
    for name, each in found.gradients.items():
        torch.testing.assert_close(each, torch.stack([one[name] for one in expected]), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_the_gradient_is_the_central_difference_of_the_objective(rule: Any) -> None:
    """With a window that begins with the training, which is where the first windows are while they grow."""
    method = replace(METHOD, optimiser=rule, step_size=0.1, unroll=replace(METHOD.unroll, growth=1000))
    task = task_of()
    state = moved(method.init(task))
    update = method.step(task, state, 0)
    draw = torch.Generator().manual_seed(2)
    for name, value in state.learned.items():
        direction = torch.randn(value.shape, generator=draw, dtype=torch.float64)
        ends = [
            method.step(task, State(learned=state.learned | {name: value + h * direction}), 0).objective
            for h in (1e-6, -1e-6)
        ]
        slope = float((update.gradients[name].mean(0) * direction).sum())
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-9), name


def test_steps_are_traced_in_the_first_iteration_only() -> None:
    engine = replace(ENGINE, execution="traced")
    method, task = replace(METHOD, unroll=replace(METHOD.unroll, window=LENGTH, engine=engine)), task_of()
    state = method.init(task)
    counts = []
    for iteration in range(3):
        method.step(task, state, iteration)
        steps = task.once(("steps", engine), TracedSteps)
        counts.append(len(steps._graphs))
    assert counts[0] > 0
    assert counts == counts[:1] * 3


def test_real_and_synthetic_images_that_are_changed_alike_have_equal_numbers() -> None:
    for augment_real, shared in (("none", False), ("own", False), ("same", True)):
        method = replace(METHOD, augment_real=augment_real)
        augmentation = method.result(task_of(), method.init(task_of())).program.augmentation
        assert augmentation == Siamese(shared=shared)


def test_the_program_of_the_set_is_that_of_the_training_with_the_learned_step_size() -> None:
    task = task_of()
    state = METHOD.init(task)
    state.learned["step_sizes"] += 0.5
    program = METHOD.result(task, state).program
    assert program.order == Shuffled(
        epochs=4, batch=4, step_size=float(softplus(state.learned["step_sizes"])), schedule="constant"
    )
    assert program.optimiser == optimiser("momentum")
    assert program.length(6) == METHOD.length(3) == LENGTH


# --- windows


def test_windows_move_from_the_first_place_to_any_place_as_they_grow() -> None:
    unroll = Unroll(window=3, growth=8)
    ends = [
        {unroll.drawn_window(11, generator(seed, "window", i), i).stop for seed in range(60)} for i in (0, 3, 7, 50)
    ]
    assert [(min(each), max(each)) for each in ends] == [(3, 4), (3, 7), (3, 11), (3, 11)]
    assert all(len(unroll.drawn_window(11, generator(0, "window", i), i)) == 3 for i in range(20))
    assert Unroll().drawn_window(11, generator(0, "window"), 0) == range(11)


def test_windows_that_do_not_grow_are_anywhere_from_the_start() -> None:
    drawn = {Unroll(window=3).drawn_window(5, generator(seed, "window"), 0) for seed in range(40)}
    assert drawn == {range(3), range(1, 4), range(2, 5)}


# --- going on from an earlier set


def test_a_run_goes_on_from_a_set_with_shuffled_batches() -> None:
    task = task_of()
    state = moved(METHOD.init(task))
    earlier = METHOD.result(task, state)
    again = task_of(earlier)
    METHOD.check(again)
    found = METHOD.result(again, METHOD.init(again))
    torch.testing.assert_close(found.inputs, earlier.inputs)
    torch.testing.assert_close(found.targets, earlier.targets)
    assert isinstance(found.program.order, Shuffled)
    assert isinstance(earlier.program.order, Shuffled)
    assert found.program.order.step_size == pytest.approx(earlier.program.order.step_size)


def test_a_warm_start_of_another_kind_is_refused() -> None:
    ordered = replace(METHOD, batch=0, augment="none", unroll=Unroll(engine=ENGINE))
    sets = {method: method.result(task_of(), method.init(task_of())) for method in (METHOD, ordered)}
    for method, start, message in (
        (METHOD, sets[ordered], "has ordered steps, but this run takes shuffled batches; leave --method.batch out"),
        (ordered, sets[METHOD], "has no ordered steps; learn shuffled batches with --method.batch"),
        (replace(METHOD, ipc=3), sets[METHOD], "has 6 examples, but the settings ask for 9"),
        (replace(METHOD, labels_rate=0.0), sets[METHOD], "learn its soft labels on with --method.labels-rate"),
    ):
        with pytest.raises(UserError, match=message):
            method.check(task_of(start))


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 2}, r"steps is 2, but with batch 4 examples belong to no step; take steps 1"),
        ({"batch": -1}, "batch is -1"),
        ({"augment": "none", "augment_real": "own"}, "augment_real is own, but augment is none"),
        ({"augment": "shift", "augment_real": "same"}, "augment_real is same, but augment is shift; take augment sia"),
    ],
)
def test_impossible_settings_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(METHOD, **change)


@pytest.mark.parametrize(("change", "message"), [({"growth": -1}, "growth is -1"), ({"growth": 5}, "window is 0")])
def test_windows_that_cannot_grow_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Unroll(**change)


def test_a_window_outside_of_the_program_is_named_when_the_classes_are_known() -> None:
    method = replace(METHOD, unroll=replace(METHOD.unroll, window=9))
    with pytest.raises(UserError, match=r"window is 9, but the program has 8 gradient steps \(2 batches x 4 epochs\)"):
        method.check(task_of())
    with pytest.raises(UserError, match=r"200000 gradient steps, but a program has at most 100000"):
        replace(METHOD, epochs=100_000).check(task_of())


def test_a_batch_larger_than_the_set_is_the_set() -> None:
    assert replace(METHOD, batch=1000).fitted(toy_data()).batch == 6
    assert METHOD.fitted(toy_data()).batch == 4


def test_data_that_are_no_images_are_not_augmented() -> None:
    rows, labels = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    data = load_rows({"train": (rows, labels), "test": (rows[:9] + 1, labels[:9])}, name="rows", validation=0.2)
    network = build("mlp(width=4)", shape=data.shape, classes=3)
    task = Task(data=data, network=network, draws=Random().bound(network, seed=0), seed=0)
    with pytest.raises(UserError, match=r"augment is siamese, but the data are .*; take augment none"):
        METHOD.check(task)
    replace(METHOD, augment="none").check(task)


def test_every_example_is_seen_in_an_epoch() -> None:
    """A window of an epoch gives every example a gradient."""
    method = replace(METHOD, unroll=Unroll(window=2, growth=10**6, engine=ENGINE))
    gradients = method.step(task_of(), method.init(task_of()), 0).gradients["examples"]
    assert gradients.shape == (1, 1, 6, 1, 4, 4)
    assert bool(gradients.flatten(3).any(-1).all())
