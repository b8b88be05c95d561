"""Tables of rows with categories and missing values: loaded, distilled, exported, and used on a table like them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from datastill import Config, UserError, load_data, load_rows
from datastill.exporting import export
from datastill.making import make
from datastill.methods.selection import RandomReal

pytestmark = pytest.mark.filterwarnings("ignore:.*has no test split")
COLOURS = ("blue", "red", "very green")


@pytest.fixture
def table() -> pd.DataFrame:
    """Two classes: the red ones, and of the others those of a great age."""
    draw = np.random.default_rng(0)
    colour, age = draw.choice(COLOURS, 120), draw.normal(40.0, 10.0, 120).astype(np.float32)
    kind = np.where((colour == "red") | (age > 45), "yes", "no")
    return pd.DataFrame({"age": age, "colour": colour, "floor": draw.integers(0, 3, 120), "kind": kind})


@pytest.fixture
def path(table: pd.DataFrame, tmp_path: Path) -> Path:
    table.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


NAMED: dict[str, Any] = {"label_column": "kind", "categories": ("colour",)}


def test_a_category_is_a_column_of_0_and_1_for_each_value(path: Path, table: pd.DataFrame) -> None:
    data = load_data(path, **NAMED)
    assert data.space.columns == ("age", *(f"colour={name}" for name in COLOURS), "floor")
    colours = data.train.images[:, 1:4]
    assert torch.equal(colours.sum(1), torch.ones(len(colours)))
    torch.testing.assert_close(torch.tensor(data.space.mean[1:4]), colours.mean(0))
    given = load_rows((table.drop(columns="kind"), table["kind"]), categories=("colour",))
    assert given.sha256 == data.sha256
    values = table.drop(columns="kind").assign(colour=table["colour"].map(COLOURS.index)).to_numpy()
    numbered = load_rows((values, table["kind"]), categories=("x1",))
    assert numbered.space.columns == ("x0", "x1=0", "x1=1", "x1=2", "x2")
    assert torch.equal(numbered.test.images, data.test.images)


def test_a_table_like_that_of_the_set_is_used_with_its_categories(path: Path, table: pd.DataFrame) -> None:
    space = load_data(path, **NAMED).space
    wide = pd.DataFrame({f"colour={name}": (table["colour"] == name).astype(float) for name in COLOURS})
    found = space.normalise(table)
    assert torch.equal(found, space.normalise(pd.concat([table[["floor", "age"]], wide], axis=1)))
    with pytest.raises(UserError, match="unknown value 'reed' of column 'colour': did you mean 'red'"):
        space.normalise(table.assign(colour="reed"))
    with pytest.raises(UserError, match=r"the table lacks the column 'colour' \(or 'colour=blue', of 0 and 1\) of"):
        space.normalise(table.drop(columns="colour"))
    for change, words in (
        ({"age": "old"}, "must be numbers: column 'age' holds 'old'"),
        ({"age": np.nan}, "missing or not finite .*, in column 'age'"),
        ({"colour": None}, "missing or not finite .*, in column 'colour'"),
    ):
        with pytest.raises(UserError, match=words):
            space.normalise(table.assign(**change))


def test_a_column_of_words_or_without_a_value_is_named_as_the_user_names_it(table: pd.DataFrame) -> None:
    rows, labels = table.drop(columns="kind"), table["kind"]
    with pytest.raises(UserError, match=r"column 'colour' holds '.*'; name a column of words in categories"):
        load_rows((rows, labels))
    with pytest.raises(UserError, match=r"missing or not finite .*, in column 'colour'"):
        load_rows((rows.assign(colour=[None, *rows["colour"][1:]]), labels), categories=("colour",))


def test_missing_values_become_the_mean_of_the_column_in_train(path: Path, table: pd.DataFrame) -> None:
    table.loc[::7, "age"], table.loc[::9, "colour"] = np.nan, None
    table.to_csv(path, index=False)
    with pytest.raises(UserError, match=r"in column 'age'; fill or remove them first, or set missing to mean to fill"):
        load_data(path, **NAMED)
    data = load_data(path, **NAMED, missing="mean")
    for column, values in (
        ("age", table["age"]),
        ("colour=red", (table["colour"] == "red").where(table["colour"].notna())),
    ):
        there = {round(float(value), 4) for value in values.dropna()}
        place, mean = data.space.columns.index(column), None
        for split in (data.train, data.validation, data.test):
            filled = {value for value in split.images[:, place].tolist() if round(value, 4) not in there}
            assert len(filled | {mean} - {None}) <= 1 or not filled
            mean = next(iter(filled), mean)
        own = [value for value in data.train.images[:, place].tolist() if value != mean]
        assert mean == pytest.approx(np.mean(own), rel=1e-5)


def test_rows_with_categories_are_exported_by_their_columns(path: Path, tmp_path: Path) -> None:
    data = load_data(path, **NAMED)
    config = Config(data=data.settings, network="mlp(width=4,depth=1)", method=RandomReal())
    distilled = make(config, data, tune=False)
    with (export(distilled, tmp_path / "csv", "csv") / "rows.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    found = torch.tensor([[float(line[name]) for name in data.space.columns] for line in lines])
    torch.testing.assert_close(found, distilled.original())


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"categories": ("color",)}, "column 'colour' of split 'train' holds no numbers; .* name it in categories"),
        ({"colour": 1}, {"categories": ("color",)}, "unknown column of categories 'color': did you mean 'colour'"),
        (
            {"colour": [str(i) for i in range(120)]},
            {},
            "'colour' has 120 different values, but a category must have fr",
        ),
        ({"age": np.inf}, {"missing": "mean"}, "missing or not finite .*, in column 'age'; fill or remove them first$"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    change: dict, settings: dict, message: str, path: Path, table: pd.DataFrame
) -> None:
    table.assign(**change).to_csv(path, index=False)
    with pytest.raises(UserError, match=message) as caught:
        load_data(path, **NAMED | settings)
    assert "\n" not in str(caught.value)


def test_a_column_without_any_value_is_refused(table: pd.DataFrame) -> None:
    with (
        pytest.warns(UserWarning, match="are identical"),
        pytest.raises(UserError, match="column 'age' has no value in train; leave it out"),
    ):
        load_rows((table[["age", "floor"]].assign(age=np.nan), table["kind"]), missing="mean")


def test_settings_of_rows_are_refused_for_images() -> None:
    with pytest.raises(UserError, match="missing is set, but has no effect: it is for rows, and 'digits' has images"):
        load_data("digits", missing="mean")
