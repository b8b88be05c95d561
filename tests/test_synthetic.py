"""How synthetic examples start."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datastill.data import Split, load_data
from datastill.errors import UserError
from datastill.synthetic import basis, positive, raw, start_examples, start_labels

from .toys import toy_data

DATA = toy_data()


@given(step_size=st.floats(1e-6, 1e3))
def test_raw_is_the_inverse_of_positive(step_size: float) -> None:
    value = torch.tensor(step_size, dtype=torch.float64)
    torch.testing.assert_close(positive(raw(value)), value, rtol=1e-9, atol=0)


@pytest.mark.parametrize("step_size", [0.0, -1.0, float("nan")])
def test_step_sizes_must_be_positive(step_size: float) -> None:
    with pytest.raises(UserError, match="must be above 0"):
        raw(torch.tensor([0.1, step_size]))


def test_every_step_has_every_class_equally_often_and_real_images_of_it() -> None:
    examples = start_examples(DATA, ipc=6, steps=3, start="real", generator=torch.Generator().manual_seed(0))
    labels = start_labels(DATA, ipc=6, steps=3)
    assert examples.shape == (3, 6, 1, 4, 4)
    assert labels.tolist() == [[0, 0, 1, 1, 2, 2]] * 3
    train = DATA.normalise(DATA.train.images)
    found = set()
    for example, label in zip(examples.flatten(0, 1), labels.flatten(), strict=True):
        same = [i for i, image in enumerate(train) if torch.equal(image, example)]
        assert {int(DATA.train.labels[i]) for i in same} == {int(label)}
        found.add(same[0])
    assert len(found) == 18, "no image is used twice"


def test_noise_is_standard_normal() -> None:
    examples = start_examples(DATA, ipc=200, steps=1, start="noise", generator=torch.Generator().manual_seed(0))
    assert abs(float(examples.mean())) < 0.05
    assert abs(float(examples.std()) - 1) < 0.05


@pytest.mark.parametrize(
    ("ipc", "steps", "message"),
    [
        (0, 1, "ipc .* is 0, but must be at least 1"),
        (1, 0, "steps is 0, but must be at least 1"),
        (7, 5, "ipc 7 cannot be shared evenly by 5 steps; take ipc 10"),
        (1000, 1, "1000 images per class wanted, but class '0' has"),
    ],
)
def test_wrong_counts_are_named(ipc: int, steps: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        start_examples(DATA, ipc=ipc, steps=steps, start="real", generator=torch.Generator())


@pytest.mark.parametrize("coordinates", ["principal", "pixels"])
def test_coordinates_and_examples_are_inverse(coordinates: str) -> None:
    chosen = basis(DATA, coordinates)
    examples = DATA.normalise(DATA.train.images[:6]).view(2, 3, 1, 4, 4)
    torch.testing.assert_close(chosen.examples(chosen.coordinates(examples)), examples, rtol=1e-4, atol=1e-4)


def test_the_gradient_in_coordinates_is_that_of_autograd() -> None:
    chosen = basis(DATA, "principal")
    z = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = chosen.examples(z)
    gradient = torch.cos(x)
    (expected,) = torch.autograd.grad(torch.sin(x).sum(), z)
    torch.testing.assert_close(chosen.gradient(gradient), expected)


def test_principal_coordinates_of_real_images_are_uncorrelated_and_of_equal_variance() -> None:
    z = basis(DATA, "principal").coordinates(DATA.normalise(DATA.train.images)).flatten(1)
    covariance = torch.cov(z.T)
    torch.testing.assert_close(covariance, torch.eye(16) * covariance[0, 0], rtol=1e-3, atol=1e-3)


def test_another_library_of_linear_algebra_gives_equal_principal_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = eigh(matrix)
        return values, vectors * torch.tensor([1.0, -1.0]).repeat(8)  # an eigenvector has either sign

    eigh, (ours, deviations) = torch.linalg.eigh, replace(DATA).principal()
    monkeypatch.setattr(torch.linalg, "eigh", other)
    theirs, equal = replace(DATA).principal()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
    torch.testing.assert_close(equal, deviations, rtol=0, atol=0)


def test_a_direction_without_variance_keeps_its_coordinate() -> None:
    images = DATA.train.images.clone()
    images[:, :, 0, 0] = 7
    flat = replace(DATA, train=Split(images=images, labels=DATA.train.labels))
    chosen = basis(flat, "principal")
    examples = flat.normalise(images[:5])
    torch.testing.assert_close(chosen.examples(chosen.coordinates(examples)), examples, rtol=1e-3, atol=1e-3)


def test_images_too_large_for_principal_coordinates_are_named() -> None:
    images = torch.randint(256, (12, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 3
    large = load_data({"train": (images[:6], labels), "test": (images[6:], labels)}, name="large", validation=0.5)
    with pytest.raises(UserError, match=r"images of 3 × 64 × 64 have 12288 values.*take --method\.coordinates pixels"):
        basis(large, "principal")
