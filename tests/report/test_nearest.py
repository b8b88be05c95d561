"""The nearest real image of each example: known distances, copies, and that no page holds real images unasked."""

from dataclasses import replace

import pytest
import torch

from datastill.cli import main
from datastill.data import Split
from datastill.report import write_report
from datastill.report.nearest import TOGETHER, nearest, nearest_in

from ..toys import toy_data, toy_set
from .conftest import write_run
from .test_page import Page

pytestmark = pytest.mark.usefixtures("without_charts")
DATA = toy_data()
SET = toy_set(DATA)


def test_the_nearest_image_and_the_distance_are_those_of_all_pairs():
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2 * TOGETHER + 7, 1, 3, 2), dtype=torch.uint8, generator=drawn)
    pixels = torch.rand(5, 1, 3, 2, generator=drawn)
    pixels[4] = images[TOGETHER + 3].float() / 255  # a copy, not in the first piece
    index, distance = nearest_in(Split(images=images, labels=torch.zeros(len(images), dtype=torch.int64)), pixels)
    all_pairs = (pixels[:, None] - images.float() / 255).flatten(2).double().square().mean(2).sqrt()
    assert torch.equal(index, all_pairs.argmin(1))
    torch.testing.assert_close(distance, all_pairs.amin(1).float())
    assert index[4] == TOGETHER + 3
    assert distance[4] == 0


def test_a_copy_of_a_real_image_is_called_a_copy(tmp_path):
    copied = torch.tensor([int((DATA.train.labels == label).nonzero()[0]) for label in SET.class_of_each.tolist()])
    copies = replace(SET, inputs=SET.header.space.normalise(DATA.train.images[copied]))
    found = nearest(copies, DATA)
    assert [pair.distance for pair in found.pairs] == pytest.approx([0] * SET.size, abs=1e-6)
    assert [pair.real_label for pair in found.pairs] == [pair.label for pair in found.pairs]
    page = Page(write_report(write_run(tmp_path / "run", copies), data=DATA))
    assert page.text.count("a copy") == SET.size
    assert [value for _, name, value in page.values if name == "alt"].count("real image of class 1") >= 1


def test_a_page_holds_no_real_image_unless_the_data_is_given(tmp_path):
    assert "nearest in the real data" not in Page(write_report(write_run(tmp_path / "run", SET))).text


def test_the_command_takes_the_data_of_one_run(tmp_path, capsys):
    folders = [str(write_run(tmp_path / name, SET)) for name in "ab"]
    assert main(["report", *folders, "--data", "digits"]) == 2
    assert "--data is for the page of one run" in capsys.readouterr().err
    assert main(["report", folders[0], "--data", "digits"]) == 2
    assert "the set has images of shape" in capsys.readouterr().err
