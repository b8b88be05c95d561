"""Crops that a teacher is sure of: which ones are chosen, how they are put together, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datastill import DistilledSet, Protocol, UserError, distill, score
from datastill.evaluation import with_teacher
from datastill.loop import LoopSettings
from datastill.methods import must_take
from datastill.methods.teacher_crops import TeacherCrops, cropped, scaled
from datastill.methods.teacher_labels import TeacherLabels
from datastill.networks.teacher import read_teacher
from datastill.rng import generator

from ..toys import toy_config, toy_data, toy_task

DATA = toy_data()


def small(teacher: Path, **settings: Any) -> TeacherCrops:
    labels = TeacherLabels(teacher=str(teacher), labelled="at-use", temperature=20.0)
    return TeacherCrops(**{"ipc": 2, "factor": 1, "real_per_class": 48, "teacher_labels": labels} | settings)


def losses(teacher: Path, images: torch.Tensor, label: int) -> torch.Tensor:
    module = read_teacher(str(teacher), shape=DATA.shape, classes=DATA.classes)
    with torch.no_grad():
        return -module(images).log_softmax(1)[:, label]


def test_with_factor_1_the_examples_are_the_real_images_that_the_teacher_is_surest_of(teacher: Path) -> None:
    """Of all train images, as `real_per_class` is the size of each class."""
    task, method = toy_task(), small(teacher)
    assert DATA.train.labels.bincount().tolist() == [48] * 3
    found = method.init(task).carried["examples"].view(3, 2, *DATA.shape)
    for label in range(3):
        real = DATA.normalise(DATA.train.images[DATA.train.labels == label])
        best = real[losses(teacher, real, label).argsort()[:2]]
        torch.testing.assert_close(found[label], best)


def test_the_crop_of_an_image_that_the_teacher_is_surest_of_is_kept(teacher: Path) -> None:
    task, method = toy_task(), small(teacher, factor=2, ipc=1, real_per_class=6, crops=3)
    images, draw = DATA.normalise(DATA.train.images[:6]), generator(0, "any")
    least, parts = method._surest(task, images, 1, draw)
    many = cropped(images.repeat_interleave(3, 0), 2, generator(0, "any"))
    every = losses(teacher, scaled(many, (4, 4)), 1).view(6, 3)
    torch.testing.assert_close(least, every.amin(1))
    chosen = many.unflatten(0, (6, 3))[torch.arange(6), every.argmin(1)]
    torch.testing.assert_close(parts, scaled(chosen, (2, 2)))


def test_a_crop_is_a_part_of_its_image_with_its_share_of_the_area() -> None:
    images = torch.arange(5 * 8 * 12.0).view(5, 1, 8, 12)
    crops = cropped(images, 4, generator(0, "crops"))
    assert crops.shape == (5, 1, 4, 6), "a quarter of the area"
    for image, crop in zip(images, crops, strict=True):
        top, left = divmod(int(crop[0, 0, 0] - image[0, 0, 0]), 12)
        assert torch.equal(crop, image[:, top : top + 4, left : left + 6])
    assert torch.equal(cropped(images, 1, generator(0, "crops")), images)


def test_scaling_keeps_a_mean_and_a_constant() -> None:
    images = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(scaled(images, (8, 8)), images)
    torch.testing.assert_close(scaled(torch.full_like(images, 0.3), (4, 2)), torch.full((3, 2, 4, 2), 0.3).double())


def test_a_whole_run_names_the_teacher_and_is_used_with_it(teacher: Path, tmp_path: Path) -> None:
    method = small(teacher, factor=2, ipc=1)
    config = toy_config(method=method, loop=LoopSettings(), protocol=Protocol(networks=2, epochs=5))
    distilled = distill(config, tmp_path / "run", data=DATA)
    found = DistilledSet.load(tmp_path / "run")
    with pytest.raises(UserError, match=r"get it from teacher\.safetensors, a pool made by datastill pretrain"):
        score(found, DATA)
    again = score(with_teacher(found, str(teacher)), DATA, Protocol(networks=2, epochs=5))
    assert again.accuracies == distilled.header.score["accuracies"]


def test_what_does_not_fit_is_refused(teacher: Path) -> None:
    for method, why in (
        (TeacherCrops(real_per_class=48), "needs a teacher; name one with --method.teacher FILE"),
        (small(teacher, factor=3), "images of 4x4 cannot be divided into equal parts"),
        (small(teacher, ipc=13, factor=2), "needs crops of 52 real images of each class, but real_per_class is 48"),
        (small(teacher, real_per_class=100), "class '0' has 48"),
    ):
        with pytest.raises(UserError, match=why):
            must_take(method, toy_task())
    fitted = TeacherCrops().fitted(DATA)
    assert (fitted.real_per_class, fitted.factor) == (48, 1)
