"""Labels: whatever plainly means one class per image is taken, and the rest is told in one line."""

import numpy as np
import pytest
import torch

from datastill.data import load_data
from datastill.data.labels import check_labels, class_name
from datastill.errors import UserError

PLAIN = [0, 2, 1, 2]


@pytest.mark.parametrize(
    "labels",
    [
        PLAIN,
        tuple(PLAIN),
        np.array(PLAIN, np.uint64),
        np.array(PLAIN, ">i2"),
        np.array(PLAIN, np.float16),
        np.array(PLAIN)[:, None],
        np.array(PLAIN, object),
        np.array([0.0, 2, 1, 2], object),
        np.eye(3, dtype=int)[PLAIN],
        np.eye(3, dtype=bool)[PLAIN],
        np.eye(3)[PLAIN],
        torch.eye(3)[PLAIN],
        list(torch.tensor(PLAIN)),
        list(torch.eye(3)[PLAIN]),
        torch.tensor(PLAIN, dtype=torch.bfloat16)[:, None],
        np.array(PLAIN[::-1])[::-1],
        np.ma.array(PLAIN),
    ],
)
def test_labels_whose_meaning_is_plain(labels):
    found = check_labels(labels, ("a", "b", "c"), "here")
    assert (found.tolist(), found.dtype) == (PLAIN, np.int64)


@pytest.mark.parametrize(
    "labels",
    [
        [b"cat", b"dog"],
        np.array([b"cat", b"dog"]),
        np.array(["cat", "dog"], object),
        np.array([["cat"], ["dog"]]),
        ["cat\n", " dog"],
    ],
)
def test_labels_that_are_text(labels):
    assert check_labels(labels, None, "here").tolist() == ["cat", "dog"]


@pytest.mark.filterwarnings("ignore")
def test_large_unsigned_labels_keep_their_names():
    draw = np.random.default_rng(0)
    values = np.array([3, 2**63 + 1, 2**64 - 1], np.uint64)
    images = draw.integers(256, size=(30, 4, 4), dtype=np.uint8)
    data = load_data({"train": (images, np.tile(values, 10)), "test": (images[:3], [3, 2**63 + 1, 2**64 - 1])})
    assert data.class_names == ("3", "9223372036854775809", "18446744073709551615")
    assert data.test.labels.tolist() == [0, 1, 2]
    mixed = {"train": (images[:20], np.tile(values[:2], 10)), "test": (images[:2], np.array([3, 2**63 + 1], object))}
    assert load_data(mixed).class_names == ("3", "9223372036854775809")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0.5, float("nan")], "^labels of here are float64, but 2 of 3 are not whole numbers, e.g. 0.5 at 1;"),
        ([0, float("inf")], "1 of 2 are not whole numbers, e.g. inf at 1"),
        (np.array([0, None], object), "^here has no labels for 1 of 2 examples"),
        (np.array([0, "a"], object), r"^labels of here are objects \(int, str\), but must all be integers"),
        ([[0.5, 0.5], [1, 0]], r"^labels of here have shape \(2, 2\), but must be \(n,\), one class per example, or"),
        ([[1, 1], [1, 0]], "single 1 in each row"),
        ([[0], [1, 2]], "^labels of here are no array"),
        (np.zeros((2, 1, 1)), "have shape"),
        (np.array(3), "have shape"),
        (np.array([1, 2], "M8[D]"), "^labels of here are datetime64"),
        (np.array([1j]), "^labels of here are complex128"),
        ([b"\xff"], "bytes that are no text"),
        (np.ma.array([0, 1], mask=[0, 1]), r"^here has no labels for 1 examples \(masked\)"),
        (["a", "b\x1b[2J"], "a class is called .* must have characters that can be printed"),
        (["a", " "], "a class is called ' '"),
    ],
)
def test_labels_that_mean_nothing(labels, message):
    with pytest.raises(UserError, match=message) as caught:
        check_labels(labels, None, "here")
    assert "\n" not in str(caught.value)


def test_names_of_classes_are_one_line_in_one_form():
    assert class_name("  cafe\u0301\u00a0au \t lait\n") == "caf\u00e9 au lait"
    images = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(UserError, match=r"^two classes are called 'cat'"):
        load_data(Named(images, [0, 1, 0, 1], ["cat\n", "cat"]))


def test_classes_that_differ_only_in_spaces_are_not_joined_in_silence():
    images = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(UserError, match=r"^two classes are called 'cat' and 'cat ', which differ only in spaces"):
        load_data((images, ["cat", "cat ", "dog", "dog"]))


class Named(torch.utils.data.Dataset):
    """Pairs with the names of the classes."""

    def __init__(self, images, labels, classes):
        self.images, self.labels, self.classes = images, labels, classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]
