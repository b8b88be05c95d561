"""What every selection promises, asked of every kind that is found; random images and averages by closed forms."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from datastill import load_data
from datastill.errors import UserError
from datastill.methods import METHODS, Task, must_take
from datastill.methods.selection import Average, Herding, KCenter, KMeans, RandomReal, Selection, Sized
from datastill.networks import build
from datastill.networks.start import Random
from datastill.objectives import Misread
from datastill.program import Ordered, Shuffled, Siamese

from ...toys import toy_data, toy_task

DATA = toy_data()
KINDS = {name: kind for name, kind in METHODS.items() if issubclass(kind, Selection)}


def is_real(image: torch.Tensor) -> bool:
    """Whether it is one of the train images."""
    real = DATA.normalise(DATA.train.images)
    return bool((real - image).flatten(1).abs().amax(1).min() < 1e-6)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> Selection:
    return KINDS[request.param]()


def test_all_kinds_are_found() -> None:
    assert set(KINDS) >= {"average", "herding", "k-center", "k-means", "random"}


def test_each_step_has_each_class_equally_often(kind: Selection) -> None:
    method, task = kind.sized(4, 2), toy_task()
    result = method.result(task, method.init(task))
    for labels in result.targets.chunk(method.batches):
        assert labels.bincount().tolist() == [len(labels) // 3] * 3
    assert isinstance(result.program.order, Ordered)
    assert result.program.order.step_sizes.shape == (1, method.batches)


def test_a_kind_that_varies_gives_another_set_for_another_seed_and_the_same_for_the_same(kind: Selection) -> None:
    first, again, other = (kind.images(toy_task(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) != kind.varies


def test_a_class_with_too_few_images_is_named(kind: Selection) -> None:
    if isinstance(kind, Sized):
        with pytest.raises(UserError, match="1000 images per class wanted, but class '0' has"):
            must_take(replace(kind, ipc=1000), toy_task())


def test_labels_are_those_that_the_objective_wants(kind: Selection) -> None:
    task = replace(toy_task(), objective=Misread(0, 2))
    must_take(kind, task)
    assert 0 not in kind.result(task, kind.init(task)).targets.tolist(), "images of class 0 are called 2"


def test_a_named_program_is_used_with_or_without_mirrors(kind: Selection) -> None:
    task = toy_task()
    for mirror in (True, False):
        method = replace(kind, program="shuffled-300", mirror=mirror)
        assert not method.has_open_program
        program = method.result(task, method.init(task)).program
        assert isinstance(program.order, Shuffled)
        assert isinstance(program.augmentation, Siamese)
        assert ("flip" in program.augmentation.operations) == mirror


@dataclass(frozen=True, kw_only=True)
class First(Sized):
    """The first images of each class, however many are wanted."""

    name: ClassVar[str] = "first"

    shape: tuple[int, ...] = (3, 2, 1, 4, 4)
    divisor: float = 1.0

    def images(self, task: Task) -> torch.Tensor:
        return torch.ones(self.shape) / self.divisor


def test_a_selection_that_gives_other_images_than_wanted_is_named() -> None:
    assert First(ipc=2).init(toy_task()).carried["images"].shape == (3, 2, 1, 4, 4)
    with pytest.raises(
        UserError, match=r"the method first gave 2 images of each class, but 8 are wanted .ipc \* factor"
    ):
        First(ipc=2, factor=2).init(toy_task())
    with pytest.raises(UserError, match=r"in the shape \(2, 4, 4\), but it must be \(3, each, 1, 4, 4\)$"):
        First(ipc=2, shape=(2, 4, 4)).init(toy_task())
    with pytest.raises(UserError, match="the method first gave images with values that are not finite; let its fun"):
        First(ipc=2, divisor=0.0).init(toy_task())


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(UserError, match="steps is 2, but has no effect: shuffled-300 has shuffled batches"):
        RandomReal(ipc=4, steps=2, program="shuffled-300")
    with pytest.raises(UserError, match="mirror is False, but has no effect: the open program mirrors no image"):
        Average(mirror=False)
    with pytest.raises(UserError, match="ipc 3 cannot be shared evenly by 2 steps"):
        KMeans(ipc=3, steps=2)


def test_random_images_are_real_and_none_comes_twice() -> None:
    images = RandomReal(ipc=4).images(toy_task()).flatten(0, 1)
    assert all(is_real(image) for image in images)
    assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_the_average_is_that_of_its_class() -> None:
    images = Average().images(toy_task())
    for label in range(3):
        of_class = DATA.normalise(DATA.train.images[DATA.train.labels == label])
        torch.testing.assert_close(images[label, 0], of_class.mean(0))


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        (RandomReal(ipc=2), [165, 591, 257, 878, 846, 986, 1241, 687, 346, 549]),
        (KCenter(ipc=2), [790, 1136, 135, 603, 665, 34, 141, 416, 674, 1164]),
        (Herding(ipc=2), [751, 202, 752, 32, 229, 360, 256, 1080, 1002, 349]),
    ],
)
def test_a_seed_chooses_the_images_that_it_always_chose(method: Sized, chosen: list[int]) -> None:
    """Indices of the train images of digits 0 to 4, as in version 0.1.0."""
    digits = load_data("digits")
    network = build("mlp(width=4)", shape=digits.shape, classes=10)
    images = method.images(Task(data=digits, network=network, draws=Random().bound(network, seed=7), seed=7))
    assert torch.equal(images[:5].flatten(0, 1), digits.normalise(digits.train.images[torch.tensor(chosen)]))
