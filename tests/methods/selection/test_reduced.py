"""Selections that store several reduced images in one: what is stored, in how many bytes, and what networks see."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill import DistilledSet, UserError
from datastill.artifact import PixelBytes
from datastill.baselines import Beside
from datastill.loop import LoopSettings
from datastill.methods import must_take
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.methods.selection import KMeans, RandomReal, Sized
from datastill.parts import cut, enlarged, reduced

from ...toys import toy_config, toy_data, toy_task
from .test_selection import KINDS

DATA = toy_data()
SIZED = {name: kind() for name, kind in KINDS.items() if issubclass(kind, Sized)}
HALF_LEVEL = 0.5 / 255 + 1e-6


@pytest.mark.parametrize("name", sorted(SIZED))
def test_a_stored_image_holds_four_chosen_ones_of_its_class_at_half_size(name: str) -> None:
    task, method = toy_task(), replace(SIZED[name], ipc=2, steps=2, factor=2)
    must_take(method, task)
    state = method.init(task)
    made = method.result(task, state)
    chosen = state.carried["images"]
    assert chosen.shape == (3, 8, 1, 4, 4)
    assert made.stored is not None
    assert made.stored.shape == (6, 1, 4, 4)
    parts = cut(made.stored, 2)
    torch.testing.assert_close(made.inputs, enlarged(parts, 2))
    for label in range(3):
        ours, theirs = parts[made.targets == label], reduced(chosen[label], 2)
        apart = (DATA.denormalise(ours) - DATA.denormalise(theirs).clamp(0, 1)).abs().max()
        assert apart <= HALF_LEVEL
    for labels in made.targets.chunk(2):  # each step has four parts of one stored image of each class
        assert labels.view(-1, 4).unique(dim=1).tolist() == [[0], [1], [2]]


def test_the_file_holds_a_byte_for_each_pixel_of_the_stored_images(tmp_path: Path) -> None:
    config = toy_config(loop=LoopSettings(), method=DatasetDistillation())
    found = Beside(config=config, data=DATA, ipc=2).made(RandomReal(factor=2), tune=False)
    assert (found.ipc, found.size, found.header.enlarged) == (2, 24, 2)
    found.save(tmp_path / "set.safetensors")
    again = DistilledSet.load(tmp_path / "set.safetensors")
    assert isinstance(again.header.decode, PixelBytes)
    assert torch.equal(again.inputs, found.inputs)
    assert found.nbytes == 6 * 16 + found.targets.nbytes + found.step_sizes.nbytes


def test_means_of_clusters_are_reduced_too() -> None:
    task, method = toy_task(), KMeans(ipc=1, factor=2)
    made = method.result(task, method.init(task))
    (centres,) = KMeans(ipc=4).images(task)[:1]
    pixels = (DATA.denormalise(each) for each in (cut(made.stored, 2)[:4], reduced(centres, 2)))
    torch.testing.assert_close(*pixels, rtol=0, atol=HALF_LEVEL)


def test_what_cannot_be_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="factor is 3, but images of 4x4 cannot be divided"):
        must_take(RandomReal(ipc=1, factor=3), toy_task())
    with pytest.raises(UserError, match="160 images per class wanted, but class '0' has"):
        must_take(RandomReal(ipc=40, factor=2), toy_task())
    with pytest.raises(UserError, match="factor is 0, but must be at least 1"):
        RandomReal(factor=0)
