"""One file with data: tables of rows, arrays of rows, signals, images and sentences."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datastill import DistilledSet, UserError, load_data, load_rows
from datastill.cli import main
from datastill.data import DataSettings
from datastill.exporting import export
from datastill.report.figures import grid
from datastill.run import learned
from datastill.space import Signals
from datastill.training import Engine

from ..test_rows import COLUMNS, rows
from ..toys import PLAIN_ENGINE, toy_config

pytestmark = pytest.mark.filterwarnings("ignore:.*has no test split")


def table(path: Path, header: list[str], lines: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    values, labels = rows(120)
    lines = [[*row, "abc"[label]] for row, label in zip(values.tolist(), labels, strict=True)]
    return table(tmp_path / "people.csv", [*COLUMNS, "kind"], lines)


def signals(count: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two channels in time; the classes are two frequencies of the first."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    time = np.arange(12) * (1 + labels[:, None])
    values = np.stack([np.sin(time), np.full_like(time, 100.0, dtype=float)], 1)
    return (values + 0.3 * draw.standard_normal(values.shape)).astype(np.float32), labels


def test_a_csv_file_holds_the_rows_that_its_table_holds(people: Path) -> None:
    values, labels = rows(120)
    found = load_data(people, label_column="kind", validation=0.25)
    wanted = load_rows((values, labels), columns=COLUMNS, validation=0.25)
    assert found.space == wanted.space
    assert found.class_names == ("a", "b", "c")
    assert torch.equal(found.train.images, wanted.train.images)
    assert torch.equal(found.test.labels, wanted.test.labels)


def test_a_parquet_file_and_a_folder_of_csv_files_hold_rows(people: Path, tmp_path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    wanted = load_data(people, label_column="kind")
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(people), tmp_path / "people.parquet")
    assert load_data(tmp_path / "people.parquet", label_column="kind").train.sha256 == wanted.train.sha256
    folder = tmp_path / "folder"
    folder.mkdir()
    people.rename(folder / "train.csv")
    assert load_data(folder, label_column="kind").train.sha256 == wanted.train.sha256


def test_an_archive_holds_rows_signals_images_or_sentences_in_splits(tmp_path: Path) -> None:
    values, labels = rows(120)
    np.savez(tmp_path / "a.npz", x_train=values, y_train=labels, x_test=values[:9] + 1, y_test=labels[:9])
    found = load_data(tmp_path / "a.npz")
    assert torch.equal(found.test.images, torch.from_numpy(values[:9] + 1))
    wave, kinds = signals()
    np.savez(tmp_path / "b.npz", signals=wave, labels=kinds)
    assert load_data(tmp_path / "b.npz").shape == (2, 12)
    pixels = (np.arange(90 * 16) % 251).astype(np.uint8).reshape(90, 4, 4)
    for examples in ({"x": pixels}, {"images": pixels / 255}):  # numbers that are called images are no signals
        np.savez(tmp_path / "c.npz", y=kinds, **examples)
        found = load_data(tmp_path / "c.npz")
        assert found.space.words == "images of 1 × 4 × 4"
        assert torch.equal(found.train.images[:9].flatten(1).diff(dim=1) % 251, torch.ones(9, 15))
    np.savez(tmp_path / "d.npz", sentences=[f"word {i} {i}" for i in range(90)], y=kinds)
    assert load_data(tmp_path / "d.npz").space.noun == "sentence"


@pytest.mark.parametrize("alone", ["x_test", "y_valid"])
def test_a_split_that_lacks_its_examples_or_labels_is_refused(alone: str, tmp_path: Path) -> None:
    values, labels = rows(120)
    part = values if alone.startswith("x") else labels
    np.savez(tmp_path / "a.npz", x_train=values, y_train=labels, **{alone: part})
    with pytest.raises(UserError, match=f"alone .arrays found: x_train, y_train, {alone}.; give examples and labels"):
        load_data(tmp_path / "a.npz")


def test_arrays_that_are_called_almost_like_a_split_are_refused(tmp_path: Path) -> None:
    values, labels = rows(120)
    np.savez(tmp_path / "a.npz", x_train=values, y_train=labels, x_tst=values[:9] + 1, y_tst=labels[:9])
    with pytest.raises(
        UserError, match=r"^unknown split 'tst' of '.*': did you mean 'test'\? known: .*; rename it or leave it"
    ):
        load_data(tmp_path / "a.npz")
    assert len(load_data(tmp_path / "a.npz", test_split="tst").test) == 9


def test_other_arrays_beside_the_splits_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, labels = rows(120)
    splits = {"x": values, "y": labels, "x_test": values[:9] + 1, "y_test": labels[:9]}
    numbers = {
        "x_mean": values.mean(0),
        "y_mean": labels.mean(),
        "label_names": np.array(["a", "b", "c"]),
        "x_ids": labels,
    }
    np.savez(tmp_path / "a.npz", **splits, **numbers)
    assert len(load_data(tmp_path / "a.npz").test) == 9
    assert "left out" not in capsys.readouterr().err
    np.savez(tmp_path / "a.npz", **splits, extra_x=values, extra_y=labels)
    assert len(load_data(tmp_path / "a.npz").test) == 9
    assert "left out: extra; splits used: train, test" in capsys.readouterr().err


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,a,kind\n1,2,x\n3,4,y\n")
    with pytest.raises(UserError, match="has several columns called 'a'; rename all but one"):
        load_data(tmp_path / "a.csv", label_column="kind")


def test_signals_have_mean_0_and_standard_deviation_1_in_each_channel() -> None:
    data = load_rows(signals(), columns=("pressure", "flow"))
    assert isinstance(data.space, Signals)
    found = data.normalise(data.train.images)
    assert found.shape[1:] == (2, 12)
    torch.testing.assert_close(found.mean((0, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std((0, 2), correction=0), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(data.denormalise(found), data.train.images, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(data.space.normalise(data.test.images.numpy()), data.normalise(data.test.images))
    with pytest.raises(UserError, match=r"signals have the shape \(3, 12\), but .* \(channels, length\) = \(2, 12\)"):
        data.space.normalise(np.zeros((3, 12)))


ENGINE = Engine(mode="stored", execution="eager", together=1, precision="float32")
QUICK = ["--network", "mlp(width=8,depth=1)", "--loop.iterations", "2", "--loop.validate-every", "2"]
QUICK += ["--method.ipc", "1", "--method.steps", "1", "--protocol.networks", "2", "--random-sets", "0", *PLAIN_ENGINE]


def test_a_csv_file_is_distilled_on_the_command_line(people: Path, tmp_path: Path, capsys: Any) -> None:
    out = str(tmp_path / "run")
    named = ["--data.name", str(people), "--data.label-column", "kind"]
    assert main(["distill", *named, *QUICK, "--out", out]) == 0
    assert "test rows)" in capsys.readouterr().out
    assert main(["verify", out, "--data", str(people)]) == 0
    assert "mean and std of columns" in capsys.readouterr().out


def test_signals_are_distilled_shown_and_exported(tmp_path: Path, capsys: Any) -> None:
    wave, kinds = signals()
    np.savez(tmp_path / "waves.npz", x=wave, y=kinds)
    out = str(tmp_path / "run")
    assert main(["distill", "--data.name", str(tmp_path / "waves.npz"), *QUICK, "--out", out]) == 0
    assert main(["show", out, "--to", str(tmp_path / "grid.png")]) == 0
    assert "of 2 × 12" in capsys.readouterr().out
    distilled = DistilledSet.load(out)
    with (export(distilled, tmp_path / "csv", "csv") / "rows.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    found = torch.tensor([[[float(line[f"{c}.{t}"]) for t in range(12)] for c in ("c0", "c1")] for line in lines])
    torch.testing.assert_close(found, distilled.original())


def test_images_of_five_channels_are_learned_shown_and_exported(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).uniform(0, 0.5, (60, 5, 8, 6)) + labels[:, None, None, None] / 5
    np.savez(tmp_path / "many.npz", images=images.astype(np.float32), labels=labels)
    data = load_data(tmp_path / "many.npz")
    distilled = learned(toy_config(data=data.settings, network="convnet(depth=1,width=4)", engine=ENGINE), data)
    assert distilled.shape == (5, 8, 6)
    assert grid(distilled).size > (3 * 6, 8)
    with np.load(export(distilled, tmp_path / "set.npz", "npz")) as archive:
        assert archive["inputs"].shape[1:] == (5, 8, 6)
    with pytest.raises(UserError, match=r"images have 5 channels, but png shows 1 .* export as npz instead"):
        export(distilled, tmp_path / "png", "png")


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (
            ["a", "b", "label"],
            [[1, "x", 0]],
            "column 'b' of split 'train' holds no numbers; if its values are categories, name it in categories",
        ),
        (
            ["a", "b", "label"],
            [[1, "", 0], [1, 2, 1]],
            "missing or not finite .*, in column 'b'; fill or remove them first",
        ),
        (["a", "b", "c"], [[1, 2, 0]], "has no labels among its columns a, b, c"),
        (["a", "b", "label"], [[1, 2]], "cannot read the table .*wrong.csv'"),
        (
            ["a", "label"],
            [[1, 0.5], [2, 1]],
            r"0\.5 at 0; give one class per example \(numbers to predict are not supp",
        ),
        (["a", "label"], [[1, 0], [2, 0], [3, 0], [4, 1]], "class '1' has 1 row in train, but must have at least 3"),
        (["a", "y", "b"], [[i, i, 0] for i in range(9)], r"there are 9 classes: .* wrong one, set label_column"),
        (
            ["a", "label"],
            [["nan", 0], [2, 1]],
            "are missing or not finite .*, in column 'a'; fill or remove them first",
        ),
        (["a", "label"], [[1, "x"], [2, ""]], "a class is called '', but its name must have characters"),
        (["text", "label"], [["a b", 0], ["", 1]], "sentence 1 of train is '', which has no words; leave it out"),
        (
            ["text", "label"],
            [[f"a{i} b{i}", i % 2] for i in range(9)],
            "no word occurs twice in the sentences of train",
        ),
        (["a", "label"], [], "wrong.csv' has no rows"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    header: list[str], line: list[list[Any]], message: str, tmp_path: Path
) -> None:
    path = table(tmp_path / "wrong.csv", header, line)
    with pytest.raises(UserError, match=message) as caught:
        load_data(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, people: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "objects.npz", x=np.array([None, 1], dtype=object), y=np.zeros(2))
    for name, message in (
        ("broken.npz", "cannot read the arrays in .*broken.npz"),
        ("other.npz", "holds the arrays weights, but must hold examples"),
        ("objects.npz", "cannot read the arrays in .*objects.npz': they hold Python objects; write .* signals of one"),
        ("none.csv", "there is no file .*none.csv"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_data(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"unknown label column 'kin' of split 'train': did you mean 'kind'"):
        load_data(people, label_column="kin")
    with pytest.raises(UserError, match=r"pad is set, but has no effect: it is for images, and 'people\.csv' has rows"):
        load_data(DataSettings(name=str(people), label_column="kind", pad=1))


def test_signals_of_different_lengths_are_refused_in_one_line() -> None:
    wave, kinds = signals()
    ragged: list[tuple[Any, str]] = [
        (
            [*wave, wave[0, :, :5]],
            r"different shapes, e\.g\. \(2, 12\) and \(2, 5\); cut signals, or pad them with zeros",
        ),
        ([[wave[0, 0], wave[0, 1, :5]]] * 9, "the examples have different shapes; cut signals, or pad them"),
    ]
    for given, message in ragged:
        with pytest.raises(UserError, match=message):
            load_rows((given, np.arange(len(given)) % 2))
    with pytest.raises(UserError, match=r"of train have the shape \(2, 12\), but those of test \(2, 5\); cut them, or"):
        load_rows({"train": (wave, kinds), "test": (wave[:, :, :5], kinds)})
