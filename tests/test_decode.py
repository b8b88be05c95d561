"""How examples are stored: without loss, the examples come back bit for bit; what does not fit is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datastill import DistilledSet, Protocol, UserError, score
from datastill.artifact import EightBits, PixelBytes, Pixels, Plain, Vectors
from datastill.cli import main
from datastill.storage.files import read_tensors

from .test_artifact import HEADER, make
from .toys import toy_data, toy_set

DATA = toy_data()


def real(count: int = 6) -> DistilledSet:
    """A set of real images of `DATA`."""
    images = DATA.normalise(DATA.train.images[:count])
    return replace(toy_set(DATA), inputs=images, targets=DATA.train.labels[:count])


def saved(distilled: DistilledSet, folder: Path) -> DistilledSet:
    """The set after it was saved and loaded."""
    distilled.save(folder / "set.safetensors")
    return DistilledSet.load(folder / "set.safetensors")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(1e-3, 2), st.integers(1, 4))
def test_bytes_of_any_image_give_its_very_bits(seed: int, mean: float, std: float, channels: int) -> None:
    space = Pixels(mean=(mean,) * channels, std=(std,) * channels, shape=(channels, 16, 16))
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, channels, 16, 16), generator=draw, dtype=torch.uint8)
    images = space.scaled(pixels, torch.float32)
    assert isinstance(Plain().exact(images, space), PixelBytes)
    stored = PixelBytes().encoded(images, space)
    assert torch.equal(stored["inputs"], pixels)
    assert torch.equal(PixelBytes().decoded(stored, space), images)


def test_real_images_are_saved_as_their_bytes_and_come_back_bit_for_bit(tmp_path: Path) -> None:
    before = real()
    after = saved(before, tmp_path)
    assert after.header.decode == PixelBytes()
    assert torch.equal(after.inputs.view(torch.int32), before.inputs.view(torch.int32))
    stored = read_tensors(tmp_path / "set.safetensors")[1]["inputs"]
    assert torch.equal(stored, DATA.train.images[:6])
    assert after.nbytes == before.nbytes
    assert saved(after, tmp_path).plain() == after.plain()
    protocol = Protocol(networks=2)
    assert score(after, DATA, protocol).accuracies == score(before, DATA, protocol).accuracies


@pytest.mark.parametrize("change", [1e-7, 0.3])
def test_one_other_value_is_enough_for_floats(change: float, tmp_path: Path) -> None:
    changed = real().inputs.clone()
    changed[3, 0, 1, 2] += change
    for before in (real(), saved(real(), tmp_path)):  # also after it was read as bytes
        after = saved(replace(before, inputs=changed), tmp_path)
        assert after.header.decode == Plain()
        assert torch.equal(after.inputs, changed)


def test_only_float32_images_are_bytes(tmp_path: Path) -> None:
    one = replace(real(), inputs=real().inputs.double())
    assert saved(one, tmp_path).header.decode == Plain()
    rows = Vectors(mean=(0.0,), std=(1.0,), columns=("height",))
    assert Plain().exact(torch.zeros(4, 1), rows) == Plain()


def test_packing_does_not_round_what_is_exact_already() -> None:
    packed = real().packed()
    assert packed.header.decode == PixelBytes()
    assert torch.equal(packed.inputs, real().inputs)
    assert packed.nbytes == real().nbytes
    assert make().packed().header.decode == EightBits()


def test_a_baseline_of_real_images_is_written_in_bytes(tmp_path: Path) -> None:
    """By the command, on images of the package."""
    words = ["baseline", "random", "digits", "--ipc", "2", "--program", "shuffled-300", "--networks", "1"]
    assert main([*words, "--network", "mlp(width=8,depth=1)", "--out", str(tmp_path)]) == 0
    found = DistilledSet.load(tmp_path / "0.safetensors")
    assert found.header.decode == PixelBytes()
    assert found.nbytes == found.inputs.numel() + found.size * 8


def test_bytes_that_are_not_of_the_images_of_the_space_are_refused() -> None:
    pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    rows = Vectors(mean=(0.0,), std=(1.0,), columns=("height",))
    for stored, space in ((pixels.float(), HEADER.space), (pixels[..., :3], HEADER.space), (pixels, rows)):
        with pytest.raises(UserError, match="stored as bytes of pixels, but they are"):
            PixelBytes().decoded({"inputs": stored}, space)
    with pytest.raises(UserError, match="no real images of 8 bits"):
        PixelBytes().encoded(torch.full((1, 1, 4, 4), 0.3001), HEADER.space)
