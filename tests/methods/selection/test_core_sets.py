"""Core-sets: what is chosen, by brute force; and the features by which images are compared."""

import itertools
import math

import pytest
import torch
from torch import nn

from datastill.errors import UserError
from datastill.methods import must_take
from datastill.methods.selection import Herding, KCenter
from datastill.methods.selection.core_sets import CoreSet
from datastill.methods.selection.features import features

from ...toys import toy_data, toy_task
from .test_selection import is_real

DATA = toy_data()
NETWORK = "mlp(width=8,depth=1)"


def test_k_center_covers_within_twice_the_best_radius() -> None:
    """The greedy choice is a 2-approximation (Gonzalez 1985): checked against all choices."""
    space = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(space, space)
    best = min(float(distances[list(few)].amin(0).max()) for few in itertools.combinations(range(12), 3))
    for seed in range(5):
        chosen = KCenter().chosen(space, 3, torch.Generator().manual_seed(seed))
        assert len(chosen.unique()) == 3
        assert float(distances[chosen].amin(0).max()) <= 2 * best + 1e-6


def test_k_center_takes_no_image_twice_even_among_equal_ones() -> None:
    assert len(KCenter().chosen(torch.zeros(5, 2), 5, torch.Generator()).unique()) == 5


def test_herding_takes_the_image_nearest_to_the_mean_first_and_then_balances() -> None:
    space = torch.tensor([[0.0], [1.0], [2.1], [5.0], [-1.0]])  # mean 1.42
    chosen = Herding().chosen(space, 3, torch.Generator())
    assert chosen.tolist() == [1, 2, 0] or chosen[0] == 1
    mean = space.mean(0)
    for count in (2, 3):
        before, taken = space[chosen[: count - 1]].sum(0), space[chosen[:count]].mean(0)
        free = [i for i in range(5) if i not in chosen[: count - 1].tolist()]
        assert (taken - mean).norm() == min(((before + space[i]) / count - mean).norm() for i in free)


@pytest.mark.parametrize("kind", [KCenter, Herding])
def test_features_of_a_network_choose_other_images_than_pixels(kind: type[CoreSet]) -> None:
    pixels, learned = (kind(ipc=4, features=spec).images(toy_task()) for spec in ("pixels", NETWORK))
    assert learned.shape == pixels.shape
    assert all(is_real(image) for image in learned.flatten(0, 1))
    assert not torch.equal(pixels, learned)


def test_features_are_what_the_last_layer_of_a_trained_network_is_given() -> None:
    found = features(DATA, NETWORK, 0)
    assert found.shape == (len(DATA.train), 8)
    means = torch.stack([found[DATA.train.labels == label].mean(0) for label in range(3)])
    right = torch.cdist(found, means).argmin(1) == DATA.train.labels
    assert right.float().mean() > 0.8, "features of one class lie together"


def dropping(*, shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network with dropout and batch normalisation."""
    first = nn.Linear(math.prod(shape), 8)
    return nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, classes))


def test_features_follow_from_the_seed_and_the_global_generator_is_left_alone() -> None:
    spec = f"{__name__}:dropping"
    torch.manual_seed(0)
    before, found = torch.get_rng_state(), features(DATA, spec, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(features(DATA, spec, 0), found)
    assert not torch.equal(features(DATA, spec, 1), found)


def test_a_feature_network_of_another_input_size_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match="'lenet' takes images of 28x28 or 32x32, not 4x4"):
        must_take(Herding(features="lenet"), toy_task())
