"""Real data: statistics, batches, images per class, and the sizes of known sets."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from datastill.data import RealData, Split, load_data
from datastill.data.huggingface import from_folder
from datastill.data.real import statistics
from datastill.errors import UserError
from datastill.space import Pixels


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_data_are_told_in_one_line(digits):
    assert (
        repr(digits)
        == "<RealData 'digits': 10 classes; 1294 train, 144 validation, 359 test images of shape (1, 8, 8)>"
    )
    assert repr(digits.test) == "<Split: 359 examples of shape (1, 8, 8)>"


def test_digits_are_whole(digits):
    assert digits.name == "digits"
    assert digits.shape == (1, 8, 8)
    assert digits.classes == 10
    assert [len(split) for split in (digits.train, digits.validation, digits.test)] == [1294, 144, 359]
    assert digits.train.images.max() == 255  # 16 in scikit-learn
    assert digits.train.images.dtype == torch.uint8


def test_normalised_train_has_mean_0_and_standard_deviation_1(digits):
    images = digits.normalise(digits.train.images)
    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_statistics_are_those_of_each_channel():
    images = torch.randint(0, 256, (20, 3, 5, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = statistics(images)
    exact = images.double().div(255)
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)).float())
    torch.testing.assert_close(std, exact.std((0, 2, 3), correction=0).float())


def test_a_constant_channel_stays_finite():
    mean, std = statistics(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean.item() == pytest.approx(0.2)
    assert std.item() == 1


def test_denormalise_undoes_normalise_and_does_not_clip(digits):
    back = digits.denormalise(digits.normalise(digits.test.images))
    torch.testing.assert_close(back, digits.test.images / 255)
    assert digits.denormalise(torch.full((1, 1, 8, 8), 10.0)).min() > 1


def test_normalise_leaves_the_pixels_alone(digits):
    before = digits.train.images.clone()
    digits.normalise(digits.train.images)
    assert torch.equal(before, digits.train.images)


def test_a_batch_is_a_set_of_train_images_with_their_labels(digits):
    images, labels = digits.batch(torch.Generator().manual_seed(0), len(digits.train))
    order = images.flatten(1).sum(1).argsort()
    expected = digits.normalise(digits.train.images)
    torch.testing.assert_close(images.flatten(1).sum(1)[order], expected.flatten(1).sum(1).sort().values)
    assert torch.equal(labels.bincount(), digits.train.labels.bincount())


def test_batches_follow_from_the_generator_only(digits):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    draw = torch.Generator().manual_seed(5)
    first, second = digits.batch(draw, 32), digits.batch(draw, 32)
    again = digits.batch(torch.Generator().manual_seed(5), 32)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])
    assert torch.equal(state, torch.get_rng_state())


def test_batches_are_uniform():
    pixels = torch.arange(20, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 2, 2)
    split = Split(images=pixels, labels=torch.arange(20) % 2)
    data = RealData(
        name="n", train=split, validation=split, test=split, class_names=("a", "b"),
        space=Pixels(mean=(0.0,), std=(1 / 255,), shape=(1, 2, 2)),
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    drawn = torch.cat([data.batch(draw, 5)[0][:, 0, 0, 0] for _ in range(2000)]).round().long()
    counts = drawn.bincount(minlength=20)  # 500 expected, standard deviation sqrt(2000 * 0.25 * 0.75) = 19
    assert (counts - 500).abs().max() < 5 * 19


def test_by_class_gives_different_train_images_of_each_class(digits):
    index = digits.by_class(30, torch.Generator().manual_seed(0))
    assert index.shape == (10, 30)
    assert len(index.unique()) == 300
    assert torch.equal(digits.train.labels[index], torch.arange(10)[:, None].expand(10, 30))
    assert torch.equal(index, digits.by_class(30, torch.Generator().manual_seed(0)))
    assert not torch.equal(index, digits.by_class(30, torch.Generator().manual_seed(1)))


def test_by_class_names_the_class_that_is_too_small(digits):
    counts = digits.train.labels.bincount()
    least = int(counts.argmin())
    message = f"class '{least}' has {counts[least]} train images; take {counts[least]} or fewer$"
    for count in (1000, int(counts[least]) + 1):
        with pytest.raises(UserError, match=f"^{count} images per class wanted, but {message}"):
            digits.by_class(count, torch.Generator())
    with pytest.raises(UserError, match="images per class is 0, but must be at least 1"):
        digits.by_class(0, torch.Generator())


@pytest.mark.parametrize(("size", "message"), [(0, "must be at least 1"), (1295, "'digits' has 1294 train images")])
def test_a_batch_must_fit(digits, size, message):
    with pytest.raises(UserError, match=f"^batch size is {size}, but {message}$"):
        digits.batch(torch.Generator(), size)


def test_to_moves_every_tensor(digits):
    moved = digits.to("meta")
    assert moved.device.type == "meta"
    for field in dataclasses.fields(moved):
        value = getattr(moved, field.name)
        for tensor in (value.images, value.labels) if isinstance(value, Split) else (value,):
            assert not isinstance(tensor, torch.Tensor) or tensor.device.type == "meta"
    assert digits.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_draws_are_the_same_on_a_gpu(digits):
    moved = digits.to("cuda")
    here, there = (data.batch(torch.Generator().manual_seed(0), 16) for data in (digits, moved))
    torch.testing.assert_close(here[0], there[0].cpu())
    draws = [data.by_class(3, torch.Generator().manual_seed(0)).cpu() for data in (digits, moved)]
    assert torch.equal(*draws)


def test_mnist_is_whole(real):
    data = load_data(real("mnist"))
    assert data.shape == (1, 28, 28)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [54000, 6000, 10000]
    assert data.space.mean[0] == pytest.approx(0.1307, abs=5e-4)  # the constants that everyone writes down
    assert data.space.std[0] == pytest.approx(0.3081, abs=5e-4)
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]  # the original order


def test_usps_and_its_conversions(real):
    data = load_data(real("usps"))
    assert data.shape == (1, 16, 16)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [6562, 729, 2007]
    like_mnist = load_data("usps", resize=28, channels="colour")
    assert like_mnist.shape == (3, 28, 28)
    assert like_mnist.space.mean == pytest.approx([data.space.mean[0]] * 3, abs=0.01)


def held_out(name):
    """The test split of a set as if it were all of it, since the whole takes seconds to decode."""
    tables = from_folder(Path(os.environ["DATASTILL_DATA"]) / name)
    return tables["test"], {split: len(table) for split, table in tables.items()}


@pytest.mark.filterwarnings("ignore:.*has no test split")
def test_cifar10(real):
    table, sizes = held_out(real("cifar10"))
    assert sizes == {"train": 50000, "test": 10000}
    data = load_data(table, name="cifar10")
    assert data.shape == (3, 32, 32)
    assert data.class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    assert [split.labels.bincount().tolist() for split in (data.train, data.validation, data.test)] == [
        [720] * 10, [80] * 10, [200] * 10,
    ]  # fmt: skip
    assert data.space.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)  # the well-known ones of train
    assert data.space.std == pytest.approx([0.2470, 0.2435, 0.2616], abs=0.01)


@pytest.mark.filterwarnings("ignore:.*has no test split")
def test_photographs_are_resized(real):
    table, sizes = held_out(real("imagenette"))
    assert sizes == {"train": 1300, "test": 500}
    data = load_data(table, resize=32, channels="grey")
    assert data.shape == (1, 32, 32)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [360, 40, 100]
    assert "golf ball" in data.class_names


def test_a_digest_names_the_pixels_the_labels_and_their_order(digits):
    assert digits.sha256 == load_data("digits").sha256
    split = digits.test
    pixels, labels = split.images.clone(), split.labels.clone()
    pixels[0, 0, 0, 0] ^= 1
    labels[0] = (labels[0] + 1) % 10
    others = [
        Split(images=pixels, labels=split.labels),
        Split(images=split.images, labels=labels),
        split.take(torch.arange(len(split)).flip(0)),
        Split(images=split.images.reshape(-1, 1, 4, 16), labels=split.labels),
    ]
    assert len({split.sha256, *(other.sha256 for other in others)}) == 5
