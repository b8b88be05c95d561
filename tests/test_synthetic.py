"""How synthetic examples start."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datastill.errors import UserError
from datastill.synthetic import positive, raw, start_examples, start_labels

from .toys import toy_data

DATA = toy_data()


@given(step_size=st.floats(1e-6, 1e3))
def test_raw_is_the_inverse_of_positive(step_size: float) -> None:
    value = positive(torch.tensor(raw(step_size), dtype=torch.float64))
    torch.testing.assert_close(value, torch.tensor(step_size, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("step_size", [0.0, -1.0, float("nan")])
def test_step_sizes_must_be_positive(step_size: float) -> None:
    with pytest.raises(UserError, match="must be above 0"):
        raw(step_size)


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
