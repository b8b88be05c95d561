"""Data on the hub: configuration, splits and columns are named. A folder in the hub's layout stands for the hub."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from datastill.data import load_data
from datastill.data.splits import roles
from datastill.errors import UserError

CARD = """---
configs:
- config_name: {0}
  data_files: [{{split: one, path: {0}/one-*}}, {{split: two, path: {0}/two-*}}]
- config_name: {1}
  data_files: [{{split: one, path: {1}/one-*}}, {{split: two, path: {1}/two-*}}]
---
"""
NAMED: dict[str, Any] = {
    "config": "small",
    "train_split": "one",
    "test_split": "two",
    "image_column": "front",
    "label_column": "species",
}


@pytest.fixture
def pets(tmp_path: Path, arrays: Any, cache: None) -> Path:
    """Two configurations, each with the splits one and two, two columns of images, and two that could be labels."""
    root, (images, labels) = tmp_path / "owner" / "pets", arrays
    for config, step in (("small", 2), ("large", 1)):
        (root / config).mkdir(parents=True)
        for split, part in (("one", slice(0, 40, step)), ("two", slice(40, 60, step))):
            front, back = ([Image.fromarray(each) for each in side[part]] for side in (images, images[::-1]))
            columns = {
                "front": front,
                "back": back,
                "species": ["abc"[k] for k in labels[part]],
                "age": labels[part] % 2,
            }
            datasets.Dataset.from_dict(columns).to_parquet(root / config / f"{split}-00000-of-00001.parquet")
    (root / "README.md").write_text(CARD.format("small", "large"))
    return root


@pytest.fixture
def hub(pets: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name on the hub of the folder `pets`."""
    load = datasets.load_dataset
    monkeypatch.setattr("datastill.data.huggingface.HfApi.dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: load(str(pets.parents[1] / name), config))
    return "owner/pets"


def test_configuration_splits_and_columns_of_data_on_the_hub_are_named(hub: str, arrays: Any) -> None:
    found, (images, labels) = load_data(hub, **NAMED), arrays
    assert found.class_names == ("a", "b", "c")
    assert torch.equal(found.test.images, torch.tensor(images[40:60:2]).permute(0, 3, 1, 2))
    assert found.test.labels.tolist() == labels[40:60:2].tolist()
    back = load_data(hub, **NAMED | {"config": "large", "image_column": "back"})
    assert torch.equal(back.test.images, torch.tensor(images[::-1][40:60].copy()).permute(0, 3, 1, 2))


def test_a_folder_in_the_layout_of_the_hub_is_read_alike(hub: str, pets: Path) -> None:
    assert load_data(pets, **NAMED).sha256 == load_data(hub, **NAMED).sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": ""}, r"Config name is missing.*'large'.*; set config to one of its configurations$"),
        ({"config": "smal"}, r"'smal' not found.*; set config to one of its configurations$"),
        (
            {"train_split": ""},
            r"there is no train split among the splits one, two; .* set train_split to the one to use$",
        ),
        ({"test_split": "tow"}, "^unknown split 'tow': did you mean 'two'"),
        ({"test_split": "one"}, "^the split 'one' is named twice"),
        ({"image_column": ""}, r"several image columns \(.*\); set image_column to the one to use$"),
        ({"image_column": "frnt"}, "^unknown image column 'frnt' of split 'one': did you mean 'front'"),
        ({"label_column": ""}, r"has no labels among its columns .* which label_column is set to\)$"),
    ],
)
def test_what_is_not_there_is_said_with_what_there_is(
    pets: Path, hub: str, change: dict[str, str], message: str
) -> None:
    for name in (hub, pets):
        with pytest.raises(UserError, match=message) as caught:
            load_data(name, **NAMED | change)
        assert "\n" not in str(caught.value)


def test_a_name_that_is_nowhere_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, cache: None) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no way\nto the hub")

    monkeypatch.setattr("datastill.data.huggingface.HfApi.dataset_info", refuse)
    message = (
        r"^cannot get 'owner/none': there is no such folder \(looked from .*\), and the hub does not .* \(no way\);"
    )
    with pytest.raises(UserError, match=message):
        load_data("owner/none")


def test_settings_for_tables_are_refused_where_there_is_none() -> None:
    for name in ("config", "image_column", "label_column", "train_split"):
        with pytest.raises(UserError, match=f"^{name} is 'x', but has no effect: .*leave it out$"):
            load_data("digits", **{name: "x"})


def test_splits_that_are_named_are_used_and_others_found() -> None:
    there = ["train", "extra", "test", "validation"]
    assert roles(there) == {"train": "train", "validation": "validation", "test": "test"}
    assert roles(there, ("extra", "train", "")) == {"train": "extra", "validation": "train", "test": "test"}
    assert roles(there[:2], ("", "extra", "")) == {"train": "train", "validation": "extra"}


def test_a_column_of_sentences_is_named(cache: None) -> None:
    bodies = [f"{'abc'[i % 3]} w{'x' * i}" for i in range(60)]
    texts = [f"no no z{'x' * i}" for i in range(60)]
    table = datasets.Dataset.from_dict({"text": texts, "body": bodies, "label": np.arange(60) % 3})
    assert {"a", "b", "c"} <= {*load_data(table, image_column="body").space.vocabulary}
    assert load_data(table).space.vocabulary == ("no",)
