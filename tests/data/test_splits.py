"""Splits: nothing lost, nothing twice, each class with its share."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datastill.data import load_data, load_rows
from datastill.data.splits import roles, stratified
from datastill.errors import UserError
from datastill.rng import generator


@st.composite
def labelled(draw):
    counts = draw(st.lists(st.integers(2, 40), min_size=1, max_size=6))
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return torch.tensor(draw(st.permutations(labels)))


@settings(max_examples=60, deadline=None)
@given(labels=labelled(), share=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_stratified_partitions_with_the_share_of_each_class_in_the_order_of_the_source(labels, share, seed):
    kept, cut = stratified(labels, share, generator(seed, "test"))
    assert torch.equal(torch.cat([kept, cut]).sort().values, torch.arange(len(labels)))
    assert torch.equal(kept, kept.sort().values)
    assert torch.equal(cut, cut.sort().values)
    for label in labels.unique():
        total, taken = int((labels == label).sum()), int((labels[cut] == label).sum())
        assert 1 <= taken <= total - 1
        assert abs(taken - total * share) <= 1


def test_stratified_gives_the_right_total_where_rounding_each_class_would_not():
    labels = torch.arange(10).repeat_interleave(14)  # 1.4 of each: rounding gives 10, the share is 14
    assert len(stratified(labels, 0.1, generator(0, "test"))[1]) == 14


def numbered(count=90):
    """Images that carry their own index, so that a split shows which images it holds."""
    index = np.arange(count)
    return np.stack([index // 16, index % 16], 1).astype(np.uint8).reshape(count, 1, 1, 2), index % 3


def indices(split):
    return (split.images[:, 0, 0, 0].long() * 16 + split.images[:, 0, 0, 1]).tolist()


@pytest.mark.filterwarnings("ignore:.*no test split")
def test_splits_partition_the_source_with_its_labels():
    data = load_data(numbered())
    held = [indices(split) for split in (data.train, data.validation, data.test)]
    assert sorted(held[0] + held[1] + held[2]) == list(range(90))
    assert [len(part) for part in held] == [65, 7, 18]
    for split in (data.train, data.validation, data.test):
        assert indices(split) == sorted(indices(split))
        assert split.labels.tolist() == [i % 3 for i in indices(split)]


@pytest.mark.filterwarnings("ignore:.*no test split")
def test_seed_changes_validation_only():
    first, again, other = (load_data(numbered(), seed=seed) for seed in (0, 0, 1))
    assert indices(first.validation) == indices(again.validation)
    assert indices(first.validation) != indices(other.validation)
    assert indices(first.test) == indices(other.test)


def test_digits_test_split_does_not_depend_on_the_settings():
    first, other = load_data("digits"), load_data("digits", seed=3, validation=0.4)
    assert torch.equal(first.test.images, other.test.images)
    assert len(first.validation) != len(other.validation)


def test_missing_test_split_is_told():
    with pytest.warns(UserWarning, match=r"'arrays' has no test split: 18 of its 90 images .* \(20% of each class"):
        load_data(numbered())


def test_validation_of_the_source_is_used():
    images, labels = numbered()
    third = {name: (images[i : i + 30], labels[i : i + 30]) for i, name in ((0, "train"), (30, "valid"), (60, "test"))}
    with pytest.warns(UserWarning, match="validation of the data is 0.5, but has no effect"):
        data = load_data(third, validation=0.5)
    assert [indices(part)[0] for part in (data.train, data.validation, data.test)] == [0, 30, 60]
    assert len(data.train) == len(data.validation) == len(data.test) == 30


@pytest.mark.parametrize(("setting", "value"), [("validation", 0.3), ("seed", 5)])
def test_settings_of_a_cut_that_is_not_made_are_told(setting: str, value: float) -> None:
    parts = {split: numbered(30) for split in ("train", "validation", "test")}
    with pytest.warns(UserWarning, match=f"^{setting} of the data is {value}, but has no effect: 'arrays' has a valid"):
        load_data(parts, **{setting: value})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "test"], {"train": "train", "test": "test"}),
        (["train", "validation"], {"train": "train", "test": "validation"}),
        (["Train", "dev", "testing"], {"train": "Train", "validation": "dev", "test": "testing"}),
        (["train", "extra"], {"train": "train"}),
        (["all"], {"train": "all"}),
    ],
)
def test_roles_of_splits(names, expected):
    assert roles(names) == expected


@pytest.mark.parametrize("names", [["test"], ["a", "b"], []])
def test_no_train_split_is_an_error(names):
    with pytest.raises(
        UserError, match=r"^there is no train split among the splits .*; name one 'train', or set train_split"
    ):
        roles(names)


@pytest.mark.filterwarnings("ignore:.*identical")
@pytest.mark.parametrize(
    ("labels", "values", "names"),
    [
        (np.array([7, -1] * 10), [1, 0] * 10, ("-1", "7")),
        (np.array(["dog", "cat"] * 10), [1, 0] * 10, ("cat", "dog")),
        (np.array(["dog", "cat"] * 10, dtype=object), [1, 0] * 10, ("cat", "dog")),
        (np.array([True, False] * 10), [1, 0] * 10, ("0", "1")),
        (torch.tensor([5, 3] * 10, dtype=torch.uint8), [1, 0] * 10, ("3", "5")),
    ],
)
def test_labels_become_classes_in_sorted_order(labels, values, names):
    part = (np.zeros((20, 4, 4), np.uint8), labels)
    data = load_data({"train": part, "test": part})
    assert data.test.labels.tolist() == values
    assert data.class_names == names


def test_a_class_needs_an_image_in_each_split():
    images = np.zeros((30, 4, 4), np.uint8)
    few = np.array([0, 0] + [1] * 28)
    with pytest.raises(UserError, match=r"^class '0' has 2 images in train, but must have at least 3 \(one each for"):
        load_data((images, few))
    half = np.arange(30) % 2
    with pytest.raises(UserError, match=r"^class '0' has 0 images in test, but must have at least 1; add images or"):
        load_data({"train": (images, half), "test": (images, np.ones(30, int))})


def test_three_images_of_a_class_are_enough():
    with pytest.warns(UserWarning, match="no test split"), pytest.warns(UserWarning, match="identical"):
        data = load_data((np.zeros((33, 4, 4), np.uint8), np.array([0] * 3 + [1] * 30)), validation=0.9)
    assert [int((split.labels == 0).sum()) for split in (data.train, data.validation, data.test)] == [1, 1, 1]


@pytest.mark.filterwarnings("error:.*identical", "ignore:.*no test split")
@pytest.mark.parametrize("copies", [2, 3])
def test_identical_images_stay_on_one_side_of_a_cut(copies):
    images, labels = numbered()
    data = load_data((np.repeat(images, copies, 0), np.repeat(labels, copies)))
    held = [set(indices(split)) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, held)) == len(set.union(*held)) == 90
    assert [len(part) for part in held] == [65, 7, 18]
    assert len(data.train) + len(data.validation) + len(data.test) == 90 * copies


@pytest.mark.filterwarnings("ignore:.*no test split")
def test_a_class_of_identical_images_is_cut_all_the_same_and_told():
    images, labels = numbered()
    images = np.where((labels == 0)[:, None, None, None], 255, images).astype(np.uint8)
    with pytest.warns(UserWarning, match=r"3 of 7 .* validation are identical to images of train; 6 of 18 .* test "):
        data = load_data((images, labels))
    assert [int((split.labels == 0).sum()) for split in (data.train, data.validation, data.test)] == [21, 3, 6]


def test_images_that_are_in_several_splits_of_the_source_are_counted():
    images, labels = numbered()
    parts = {"train": (images[:60], labels[:60]), "val": (images[30:63], labels[30:63]), "test": (images, labels)}
    counts = r"30 of 33 images of validation are .* train; 60 of 90 .* test are .* train; 33 of 90 .* validation\. Acc"
    with pytest.warns(UserWarning, match=f"^'mine': {counts}"):
        load_data(parts, name="mine")


def test_the_first_usual_name_of_a_split_counts():
    assert roles(["eval", "test", "TRAIN"]) == {"train": "TRAIN", "test": "test"}
    assert roles(["Training", "evaluation"]) == {"train": "Training", "test": "evaluation"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tst",
            "unknown split 'tst': did you mean 'test'[?] known: dev, .*, val, valid, validation; rename it or leave",
        ),
        ("TRAIN", "the splits 'train' and 'TRAIN' are both train; leave one out"),
        ("holdout", "unknown split 'holdout': .*known: dev"),
    ],
)
@pytest.mark.parametrize("load", [load_data, load_rows])
def test_a_split_of_my_own_that_would_not_be_used_is_refused(load, name, message):
    images, labels = numbered()
    rows = images.reshape(90, 2).astype(float)
    part = (images, labels) if load is load_data else (rows, labels)
    with pytest.raises(UserError, match=f"^{message}") as told:
        load({"train": part, name: part})
    assert "\n" not in str(told.value)


@pytest.mark.filterwarnings("ignore:.*(no test split|are identical)")
def test_a_split_that_is_named_is_used_and_others_may_be_there():
    assert len(load_data({"train": numbered(), "tst": numbered(30), "x": numbered()}, test_split="tst").test) == 30


@pytest.mark.filterwarnings("ignore:.*(no test split|are identical)")
def test_splits_of_a_table_that_are_not_used_are_said(capsys):
    import datasets

    images, labels = numbered()
    table = datasets.Dataset.from_dict({"a": images[..., 0].ravel(), "b": images[..., 1].ravel(), "label": labels})
    load_data(datasets.DatasetDict(train=table, test=table, extra=table))
    assert "left out: extra; splits used: train, test" in capsys.readouterr().err


def test_a_validation_split_that_becomes_the_test_split_is_said():
    images, labels = numbered(120)
    parts = {"train": (images[:90], labels[:90]), "val": (images[90:], labels[90:])}
    with pytest.warns(
        UserWarning, match=r"^there is no test split: 'val' serves as test, and validation is cut off tr"
    ):
        assert indices(load_data(parts).test) == list(range(90, 120))
    with pytest.warns(UserWarning, match=r"has no test split: \d+ of its 90 images were set apart"):
        assert indices(load_data(parts, validation_split="val").validation) == list(range(90, 120))
