"""Inversion of a teacher: its objective in cases that are known, its derivatives, and the teachers that it takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from datastill import UserError
from datastill.methods import State, must_take
from datastill.methods.teacher_inversion import TeacherInversion, seen
from datastill.methods.teacher_labels import TeacherLabels
from datastill.networks import build
from datastill.networks.teacher import read_teacher
from datastill.rng import generator

from ..toys import toy_data, toy_task

DATA = toy_data().in_precision(torch.float64)
NETWORK = "convnet(width=4,depth=2,norm=batch)"


def small(teacher: Path, **settings: Any) -> TeacherInversion:
    labels = TeacherLabels(teacher=str(teacher), labelled="at-use", temperature=20.0)
    return TeacherInversion(**{"ipc": 4, "batch": 6, "statistics": 0.5, "teacher_labels": labels} | settings)


def test_the_images_of_the_running_statistics_have_no_distance() -> None:
    network = build(NETWORK, shape=DATA.shape, classes=3)
    theta, images = network.init("kaiming", [generator(0, "weights")])[0], toy_data().normalise(DATA.train.images)
    module, images = network.with_weights(theta, network.statistics(theta, images)).double(), images.double()
    with torch.no_grad():
        logits, distances = seen(module, images)
        expected = module(images)
        twice = seen(module, 2 * images)[1]
    assert len(distances) == 2
    assert float(distances.max()) < 0.02, "up to the factor n / (n - 1) of a running variance"
    torch.testing.assert_close(logits, expected, msg="the teacher is used as it is")
    assert bool((twice > 10 * distances).all())


def test_the_distance_is_that_of_means_and_variances() -> None:
    """Of a single layer that sees the images themselves: closed form."""
    layer = torch.nn.BatchNorm2d(2).double()
    teacher = torch.nn.Sequential(layer, torch.nn.Flatten()).eval()
    layer.running_mean, layer.running_var = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 3.0]).double()
    images = torch.randn(7, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, variance = images.mean((0, 2, 3)), images.var((0, 2, 3), correction=0)
    expected = (mean - layer.running_mean).norm() + (variance - layer.running_var).norm()
    torch.testing.assert_close(seen(teacher, images)[1], expected[None])


def test_the_gradients_are_those_of_finite_differences(teacher: Path) -> None:
    """The objective is the mean over independent batches, and the gradient that of their sum."""
    task, method, step = toy_task(data=DATA), small(teacher), 1e-6
    state = method.init(task)
    examples, gradient = state.learned["examples"], method.step(task, state, 3).gradients["examples"][0]
    along = torch.randn(examples.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ahead, behind = (
        method.step(task, State(learned={"examples": examples + sign * step * along}), 3).objective for sign in (1, -1)
    )
    assert float((gradient * along).sum()) == pytest.approx(2 * (ahead - behind) / (2 * step), rel=1e-5)


def test_batches_have_every_class_in_turn_and_are_independent(teacher: Path) -> None:
    task, method = toy_task(data=DATA), small(teacher)
    state, labels = method.init(task), method.classes(task)
    first, second = method._batches(task)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(12))
    assert labels[first].tolist() == [0, 1, 2] * 2
    before = method.step(task, state, 0).gradients["examples"][0]
    moved = state.learned["examples"].clone()
    moved[second] += 1
    after = method.step(task, State(learned={"examples": moved}), 0).gradients["examples"][0]
    assert torch.equal(before[first], after[first])
    assert not torch.equal(before[second], after[second])


def test_learning_makes_the_teacher_sure_and_the_statistics_alike(teacher: Path) -> None:
    task, method = toy_task(data=DATA), small(teacher, batch=12)
    state, labels = method.init(task), method.classes(task)
    module = read_teacher(str(teacher), shape=DATA.shape, classes=3).double()
    examples = (3 * state.learned["examples"]).requires_grad_()
    with torch.no_grad():
        first, far = seen(module, examples)
    adam = torch.optim.Adam([examples], 0.1)
    for i in range(60):
        (examples.grad,) = method.step(task, State(learned={"examples": examples.detach()}), i).gradients["examples"]
        adam.step()
    with torch.no_grad():
        logits, near = seen(module, examples)
    assert float(near.sum()) < 0.5 * float(far.sum())
    loss = torch.nn.functional.cross_entropy
    assert float(loss(logits, labels)) < 0.5 * float(loss(first, labels))


def test_a_teacher_with_batch_normalisation_is_needed(teacher: Path, experts: Path) -> None:
    with pytest.raises(UserError, match="the method teacher-inversion needs a teacher"):
        must_take(TeacherInversion(), toy_task())
    with pytest.raises(UserError, match="has no batch normalisation, whose statistics the method teacher-inversion"):
        must_take(small(Path(f"{experts}#0")), toy_task())
    must_take(replace(small(teacher), start_from="real"), toy_task())
