"""Baselines: what is chosen, by closed forms and brute force; and that each kind keeps the contract."""

import itertools
from dataclasses import replace

import pytest
import torch

from datastill.baselines import BASELINES, Baseline, RandomReal, Setting
from datastill.baselines.average import Average
from datastill.baselines.base import of_class
from datastill.baselines.core_sets import CoreSet, Herding, KCenter
from datastill.baselines.features import features
from datastill.baselines.k_means import KMeans
from datastill.baselines.optimised_random import OptimisedRandom
from datastill.data import load_data
from datastill.errors import UserError
from datastill.evaluation import Grid, Protocol, score, tuned
from datastill.program import AUGMENTATIONS, PROGRAMS, Shuffled, as_plain

from ..sets import in_steps
from ..toys import toy_data, toy_set

DATA = toy_data()
NETWORK = "mlp(width=8,depth=1)"
SETTING = Setting(
    data=DATA, network=NETWORK, ipc=4, steps=2, grid=Grid(step_sizes=(0.01, 0.3), epochs=(1, 3), networks=2)
)


def is_real(image: torch.Tensor) -> bool:
    """Whether it is one of the train images."""
    real = DATA.normalise(DATA.train.images)
    return bool((real - image).flatten(1).abs().amax(1).min() < 1e-6)


@pytest.fixture(params=sorted(BASELINES))
def baseline(request: pytest.FixtureRequest) -> Baseline:
    return BASELINES[request.param]()


def test_every_kind_makes_an_ordinary_set_that_teaches(baseline: Baseline) -> None:
    distilled = baseline.build(SETTING)
    assert distilled.header.method == baseline.name
    assert distilled.hard
    for labels in in_steps(distilled, distilled.targets):
        assert labels.bincount().tolist() == [len(labels) // 3] * 3, "each step has each class equally often"
    assert len(distilled.step_sizes.unique()) == 1
    assert score(distilled, DATA, Protocol(networks=5)).mean > 0.5


def test_a_kind_that_varies_gives_another_set_for_another_seed_and_the_same_for_the_same(baseline: Baseline) -> None:
    first, again, other = (baseline.plain(replace(SETTING, seed=seed)).inputs for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) != baseline.varies


def test_a_class_with_too_few_images_is_named(baseline: Baseline) -> None:
    if isinstance(baseline, Average):
        return  # takes one of each, whatever is asked
    with pytest.raises(UserError, match="1000 images per class wanted, but class '0' has"):
        baseline.plain(replace(SETTING, ipc=1000, steps=1))


def test_random_images_are_real_and_none_comes_twice() -> None:
    images = RandomReal().images(SETTING).flatten(0, 1)
    assert all(is_real(image) for image in images)
    assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_the_average_is_that_of_its_class_and_serves_every_step() -> None:
    distilled = Average().build(SETTING)
    for label in range(3):
        torch.testing.assert_close(distilled.inputs[label], of_class(DATA, label).mean(0))
    assert distilled.size == 3, "not four of each: one is stored, and taken again"
    assert len(distilled.step_sizes) in (2, 6), "as many gradient steps as the others: epochs of the grid x steps"


def test_centroids_are_the_means_of_what_is_nearest_to_them() -> None:
    """A fixed point of Lloyd's iteration."""
    for label, centres in enumerate(KMeans().images(SETTING)):
        images = of_class(DATA, label).flatten(1)
        nearest = torch.cdist(images, centres.flatten(1)).argmin(1)
        for k, centre in enumerate(centres.flatten(1)):
            torch.testing.assert_close(images[nearest == k].mean(0), centre, rtol=1e-3, atol=1e-3)


def test_the_nearest_real_images_are_real_and_nearest() -> None:
    centres, nearest = (KMeans(nearest=choice).images(SETTING) for choice in (False, True))
    for label in range(3):
        images = of_class(DATA, label).flatten(1)
        for centre, image in zip(centres[label], nearest[label], strict=True):
            assert is_real(image)
            least = (images - centre.flatten()).norm(dim=1).min()
            torch.testing.assert_close((image - centre).norm(), least)


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
    pixels, learned = (kind(features=spec).images(SETTING) for spec in ("pixels", NETWORK))
    assert learned.shape == pixels.shape
    assert all(is_real(image) for image in learned.flatten(0, 1))
    assert not torch.equal(pixels, learned)


def test_features_are_what_the_last_layer_of_a_trained_network_is_given() -> None:
    found = features(DATA, NETWORK, 0)
    assert found.shape == (len(DATA.train), 8)
    means = torch.stack([found[DATA.train.labels == label].mean(0) for label in range(3)])
    right = torch.cdist(found, means).argmin(1) == DATA.train.labels
    assert right.float().mean() > 0.8, "features of one class lie together"


def test_a_feature_network_of_another_input_size_is_refused() -> None:
    with pytest.raises(UserError, match="'lenet' takes images of 28x28 or 32x32, not 4x4"):
        Herding(features="lenet").images(SETTING)


def test_the_optimised_set_is_the_candidate_that_teaches_train_images_best() -> None:
    """Judged again by ordinary scores on a data set whose validation split is the train split."""
    kind = OptimisedRandom(candidates=4, networks=3, real_images=100)
    chosen = kind.plain(SETTING)
    one_of = OptimisedRandom(candidates=1).plain(SETTING)
    on_train = replace(DATA, validation=DATA.train)
    protocol = tuned(one_of, DATA, Protocol(), SETTING.grid)
    best, first = (
        score(each, on_train, replace(protocol, networks=3), split="validation", images=100).mean
        for each in (chosen, one_of)
    )
    assert best >= first


def test_a_step_size_is_chosen_without_the_test_split() -> None:
    worthless = load_data(
        {
            "train": (DATA.train.images.numpy(), DATA.train.labels.numpy()),
            "validation": (DATA.validation.images.numpy(), DATA.validation.labels.numpy()),
            "test": (255 - DATA.test.images.numpy(), DATA.test.labels.flip(0).numpy()),
        }
    )
    one, other = (RandomReal().build(replace(SETTING, data=data)) for data in (DATA, worthless))
    assert torch.equal(one.step_sizes, other.step_sizes)


def test_the_step_size_that_validates_best_is_chosen() -> None:
    plain = RandomReal().plain(SETTING)
    grid = Grid(step_sizes=(1e-6, 0.3), epochs=(1, 3), networks=3, images=48)
    chosen = tuned(plain, DATA, Protocol(), grid)
    means = {
        (size, epochs): score(
            plain, DATA, Protocol(networks=3, step_size=size, epochs=epochs), split="validation", images=48
        ).mean
        for size in grid.step_sizes
        for epochs in grid.epochs
    }
    assert means[chosen.step_size, chosen.epochs] == max(means.values())
    assert chosen.networks == Protocol().networks, "the number of networks of the choice does not leak"


def test_beside_a_set_of_shuffled_batches_a_baseline_has_its_program() -> None:
    program = replace(PROGRAMS["shuffled-300"], order=Shuffled(epochs=3, batch=4), augmentation=AUGMENTATIONS["shift"])
    like = toy_set(DATA).with_program(program)
    made = RandomReal().build(Setting.like(like, DATA))
    assert as_plain(made.program) == as_plain(program)
    assert made.size == like.size
    assert score(made, DATA, Protocol(networks=2)).protocol["augmentation"] == "shift"
