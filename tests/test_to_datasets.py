"""A set as a table of `datasets`: what a reader sees beside the exact values, for every space."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Image

from datastill import load_rows
from datastill.artifact import DistilledSet, Header, PerEpoch, Pixels, Vectors
from datastill.data import RealData
from datastill.networks.start import Random
from datastill.space import Signals, Tokens

from .sets import ordered
from .test_export import make, rounded
from .toys import toy_set

NAMES = ("label", "step", "step_")


def of_space(space: Vectors | Tokens | Pixels, targets: torch.Tensor | None = None) -> DistilledSet:
    draw = torch.Generator().manual_seed(0)
    return DistilledSet(
        inputs=torch.randn(4, *space.shape, generator=draw),
        targets=torch.tensor([1, 0, 1, 0]) if targets is None else targets,
        program=ordered(torch.full((1, 2), 0.1)),
        header=Header(data="toys", class_names=("no", "yes"), space=space, network="mlp", start=Random()),
    )


def test_images_have_pictures_labels_places_and_exact_values() -> None:
    distilled = make(soft=True)
    table = distilled.to_datasets()
    assert table.features["image"] == Image()
    assert table.features["label"] == ClassLabel(names=list(distilled.header.class_names))
    assert (np.stack([np.asarray(image) for image in table["image"]]) == rounded(distilled).reshape(12, 6, 5, 3)).all()
    assert list(zip(table["step"], table["index"], strict=True)) == list(np.ndindex(3, 4))
    exact = table.with_format("torch")
    assert torch.equal(exact["example"][:], distilled.inputs)
    assert torch.equal(exact["label_values"][:], distilled.targets)


def test_images_of_five_channels_have_no_pictures_but_exact_values() -> None:
    distilled = of_space(Pixels(mean=(0.5,) * 5, std=(0.2,) * 5, shape=(5, 2, 3)))
    table = distilled.to_datasets()
    assert "image" not in table.features
    assert torch.equal(table.with_format("torch")["example"][:], distilled.inputs)


def test_rows_have_their_columns_in_their_units_and_no_name_is_lost() -> None:
    space = Vectors(mean=(1.0, 2.0, 3.0), std=(1.0, 10.0, 100.0), columns=NAMES)
    distilled = of_space(space)
    table = distilled.to_datasets()
    assert table.column_names == ["label_", "step__", "step_", "label", "step", "index", "step_sizes", "example"]
    columns = np.stack([table[name] for name in ("label_", "step__", "step_")], axis=1)
    assert np.array_equal(((columns - [1, 2, 3]) / [1, 10, 100]).astype(np.float32), distilled.inputs.numpy())
    assert list(table["label"]) == [1, 0, 1, 0]


def test_channels_of_signals_are_columns_of_lists() -> None:
    distilled = of_space(Signals(mean=(1.0, 2.0), std=(1.0, 10.0), columns=("left", "right"), length=5))
    table = distilled.to_datasets()
    signals = np.stack([np.asarray(table[name]) for name in ("left", "right")], axis=1)
    exact = (signals - np.array([[1.0], [2.0]])) / np.array([[1.0], [10.0]])
    assert np.array_equal(exact.astype(np.float32), distilled.inputs.numpy())
    assert torch.equal(table.with_format("torch")["example"][:], distilled.inputs)


def test_sentences_are_their_nearest_words() -> None:
    distilled = of_space(Tokens.of(("who", "is", "it"), length=4, dim=3, seed=0))
    sentence = "who is it"
    same = replace(distilled, inputs=distilled.normalise([sentence] * 4))
    assert list(same.to_datasets()["words"]) == [sentence] * 4


def test_labels_of_each_epoch_are_kept() -> None:
    targets = torch.rand(3, 4, 2)
    distilled = of_space(Vectors(mean=(0.0,), std=(1.0,), columns=("x",)))
    distilled = replace(distilled, targets=targets, header=replace(distilled.header, labels=PerEpoch()))
    found = torch.tensor(list(distilled.to_datasets()["label_values"]))
    assert torch.equal(found, targets.transpose(0, 1))


@pytest.mark.filterwarnings("ignore:.*has no test split")
def test_a_table_of_a_set_of_rows_trains_other_tools() -> None:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    data: RealData = load_rows((values, np.arange(20) // 10), columns=("a", "b"))
    frame = toy_set(data).to_datasets().to_pandas()
    assert np.allclose(frame[["a", "b"]], [data.train.images[data.train.labels == k].mean(0) for k in (0, 1)])
