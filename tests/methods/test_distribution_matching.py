"""Distribution matching: means and characteristic functions of features, in closed form."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from datastill.methods import State
from datastill.methods.distribution_matching import DistributionMatching, class_means, squared_distance, waves
from datastill.program import Siamese

from ..toys import toy_data, toy_task

DATA = toy_data().in_precision(torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_means_are_those_of_each_class_and_0_without_members() -> None:
    values, labels = normal(6, 4), torch.tensor([2, 0, 2, 0, 0, 2])
    found = class_means(values, labels, 4)
    torch.testing.assert_close(found[0], values[labels == 0].mean(0))
    torch.testing.assert_close(found[2], values[labels == 2].mean(0))
    assert not found[[1, 3]].any()


def test_the_gradient_of_the_distance_is_twice_the_difference_shared_by_the_examples_of_a_class() -> None:
    real, values, labels = normal(2, 3), normal(5, 3, seed=1).requires_grad_(), torch.tensor([0, 0, 0, 1, 1])
    squared_distance(real, class_means(values, labels, 2)).backward()
    means, counts = class_means(values.detach(), labels, 2), torch.tensor([3, 2])
    torch.testing.assert_close(values.grad, (2 * (means - real) / counts[:, None])[labels])


def test_the_characteristic_function_of_a_circle_is_the_bessel_function() -> None:
    """Features of any length, spread evenly over all directions of the plane: E exp(i <t, f>) = J_0(|t|)."""
    angles = torch.arange(500, dtype=torch.float64) * (2 * math.pi / 500)
    features, frequencies = 7 * torch.stack([angles.cos(), angles.sin()], 1), normal(2, 5)
    found = waves(features, frequencies).mean(0) * math.sqrt(5)
    expected = torch.special.bessel_j0(frequencies.norm(dim=0))
    torch.testing.assert_close(found, torch.cat([expected, torch.zeros(5, dtype=torch.float64)]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_equal_laws_have_distance_0_and_others_do_not_even_with_equal_means(shift: float) -> None:
    """Means cannot tell +-1 from a spread around them along a circle; characteristic functions can."""
    angles = torch.tensor([0.5 - shift, 0.5 + shift], dtype=torch.float64)
    features = torch.stack([angles.cos(), angles.sin()], 1)
    middle = torch.tensor([[math.cos(0.5), math.sin(0.5)]], dtype=torch.float64)
    labels, frequencies = torch.zeros(2, dtype=torch.long), normal(2, 32)
    found = class_means(waves(features, frequencies), labels, 1)
    expected = class_means(waves(middle, frequencies), labels[:1], 1)
    distance = float(squared_distance(found, expected))
    assert distance < 1e-12 if shift == 0 else distance > 1e-3


def small(**settings: object) -> DistributionMatching:
    return replace(DistributionMatching(ipc=2, networks=2, real_per_class=8, frequencies=16), **settings)


@pytest.mark.parametrize("compare", ["means", "characteristic-functions"])
def test_the_gradient_is_that_of_finite_differences(compare: str) -> None:
    task, method = toy_task(data=DATA), small(compare=compare)
    state = method.init(task)
    examples, step = state.learned["examples"], 1e-5
    along = normal(*examples.shape)
    ahead, behind = (
        method.step(task, State(learned={"examples": examples + sign * step * along}), 0) for sign in (1, -1)
    )
    found = float((method.step(task, state, 0).gradients["examples"].mean(0) * along).sum())
    assert found == pytest.approx((ahead.objective - behind.objective) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("compare", ["means", "characteristic-functions"])
def test_all_images_of_a_class_match_themselves_under_every_augmentation(compare: str) -> None:
    """One draw of the augmentation is for real and synthetic images; with two, their means would differ."""
    least = int(DATA.train.labels.bincount().min())
    task, whole = toy_task(data=DATA), small(compare=compare, ipc=least, real_per_class=least)
    half = small(compare=compare, ipc=least // 2, real_per_class=least)
    for iteration in range(6):
        update = whole.step(task, whole.init(task), iteration)
        assert update.objective < 1e-20
        assert float(update.gradients["examples"].abs().max()) < 1e-9
        assert half.step(task, half.init(task), iteration).objective > 1e-6


def test_a_class_with_few_images_limits_the_real_images_of_each_class() -> None:
    least = int(DATA.train.labels.bincount().min())
    assert small(real_per_class=10_000).fitted(DATA).real_per_class == least


def test_digits_are_matched_and_used_without_mirror_images() -> None:
    task = toy_task(data=DATA)
    method = small(mirror=False)
    program = method.result(task, method.init(task)).program
    assert isinstance(program.augmentation, Siamese)
    assert "flip" not in program.augmentation.operations
