"""Rows of numbers in the place of images: loaded, distilled, used, verified, shown and exported."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from datastill import DistilledSet, UserError, distill, load_data, load_rows, score, verify
from datastill.artifact import Vectors
from datastill.baselines import BASELINES, Beside
from datastill.cli import main
from datastill.data import DataSettings, RealData
from datastill.evaluation import Protocol
from datastill.evaluation.clean import with_clean
from datastill.exporting import export
from datastill.networks import build
from datastill.networks.pool import Pool
from datastill.objectives import parse_objective
from datastill.pretraining import PoolSettings, pretrain
from datastill.program import PROGRAMS
from datastill.report import write_report
from datastill.run import artifact, prepare

from .toys import toy_config

NETWORK = "mlp(width=8,depth=1)"
COLUMNS = ("height, cm", "weight", "age", "constant")


def rows(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes around three points, in columns of very different units, and one column that is constant."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.array([[0.0, 0.0, 1.0], [2.0, -1.0, 0.0], [0.0, 2.0, 0.0]])
    values = (centres[labels] + 0.4 * draw.standard_normal((count, 3))) * [1.0, 1000.0, 1e-3] + [170.0, 1e5, 0.0]
    return np.hstack([values, np.full((count, 1), 7.0)]).astype(np.float32), labels


@pytest.fixture(scope="module")
def data() -> RealData:
    train, test = (rows(), rows(60, seed=1))
    return load_rows({"train": train, "test": test}, columns=COLUMNS, name="people", validation=0.25)


@pytest.fixture(scope="module")
def run(data: RealData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows") / "run"
    settings = DataSettings(name="people", in_memory=True, validation=0.25)
    distill(toy_config(network=NETWORK, data=settings), folder, data=data)
    return folder


def test_rows_have_mean_0_and_standard_deviation_1_in_each_column(data: RealData) -> None:
    found = data.normalise(data.train.images)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=2e-2, rtol=0)  # float32 of 1e5
    torch.testing.assert_close(found.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-2, rtol=0)
    torch.testing.assert_close(data.denormalise(found), data.train.images)
    assert data.space == Vectors(mean=data.space.mean, std=data.space.std, columns=COLUMNS)


def test_a_set_of_rows_is_distilled_verified_and_used(run: Path, data: RealData) -> None:
    distilled = DistilledSet.load(run)
    assert distilled.shape == (4,)
    assert verify(distilled, data)["holds"]
    assert distilled.header.score["mean"] > 0.45
    plain = nn.Linear(4, 3)
    nn.init.zeros_(plain.weight)  # random weights would be other ones in each order of the tests
    nn.init.zeros_(plain.bias)
    model = distilled.fit(plain)
    found = model(distilled.normalise(data.test.images)).argmax(1)
    assert float((found == data.test.labels).float().mean()) > 0.45
    assert 0 <= score(distilled, data, Protocol(networks=2, network="nearest-neighbours(k=1,norm=2)")).mean <= 1


def test_a_run_of_rows_goes_on_from_a_set_of_rows(run: Path, data: RealData) -> None:
    config = toy_config(network=NETWORK, data=data.settings, warm_start=str(run))
    started = prepare(config, data)
    again = artifact(started, config.method.init(started.task))
    torch.testing.assert_close(again.original(), DistilledSet.load(run).original(), rtol=1e-3, atol=1e-3)


def test_a_pool_is_trained_on_rows(data: RealData, tmp_path: Path) -> None:
    settings = PoolSettings(data=data.settings, network=NETWORK, count=2, held_out=0, epochs=1)
    made = pretrain(settings, data, tmp_path / "pool.safetensors")
    assert made.header["space"]["columns"] == list(COLUMNS)
    assert Pool.load(tmp_path / "pool.safetensors").header["shape"] == [4]


def test_an_attack_on_rows_is_distilled_and_measured(data: RealData, tmp_path: Path) -> None:
    config = toy_config(network=NETWORK, data=data.settings, objective=parse_objective("misread(0,1)"))
    distilled = distill(config, tmp_path / "run", data=data)
    shares = distilled.header.score["measures"]
    assert all(0 <= share <= 1 for stages in shares.values() for values in stages.values() for share in values)
    assert shares
    mixed = with_clean(distilled, data, ipc=1)
    assert mixed.size == distilled.size + distilled.batches * data.classes


@pytest.mark.parametrize("name", ["random", "average", "k-means", "herding"])
def test_baselines_of_rows_are_sets_of_rows(name: str, run: Path, data: RealData) -> None:
    beside = Beside.of(DistilledSet.load(run), data)
    made = beside.made(BASELINES[name](), tune=False)
    assert made.header.space == data.space


def test_a_set_of_rows_is_shown(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["show", str(run), "--to", str(run / "grid.png")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of 4" in said
    page, distilled = write_report(run).read_text(encoding="utf-8"), DistilledSet.load(run)
    for place, name in enumerate(COLUMNS):
        shown = [f"{row[place]:.4g}" for row in distilled.header.space.table(distilled.inputs)[1]]
        assert f"{name} {' '.join(shown)}" in said
        assert f'<th scope="row">{name}</th>' + "".join(f"<td>{value}</td>" for value in shown) in page
        assert all(f">{value}</td>" in distilled._repr_html_() for value in shown)
    assert "standard deviations from the mean of the column" in page
    assert "(value - mean) / std in each column" in page


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_an_export_of_rows_trains_as_fit_does(kind: str, run: Path, data: RealData, tmp_path: Path) -> None:
    distilled = DistilledSet.load(run)
    where = export(distilled, tmp_path / "out", kind)
    if kind == "npz":
        with np.load(where) as archive:
            code = str(archive["fit.py"])
    else:
        code = (where / "fit.py").read_text(encoding="utf-8")
        with (where / "rows.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        found = torch.tensor([[float(line[name]) for name in COLUMNS] for line in lines])
        torch.testing.assert_close(found, distilled.original())
        assert [int(line["label"]) for line in lines] == distilled.targets.tolist()
        assert json.loads((where / "program.json").read_text())["shape"] == [4]
    names: dict[str, Any] = {}
    exec(compile(code, "fit.py", "exec"), names)
    theirs, ours = (build(NETWORK, shape=(4,), classes=3).factory() for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    distilled.fit(ours)
    SimpleNamespace(**names).fit(theirs, where)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_for_images_is_refused(run: Path, tmp_path: Path) -> None:
    distilled = DistilledSet.load(run)
    for kind in ("png", "parquet"):
        with pytest.raises(UserError, match="cannot hold the examples, which are rows of 4 numbers; take csv or npz"):
            export(distilled, tmp_path / kind, kind)
    with pytest.raises(UserError, match="the examples are no images; take a program without it"):
        distilled.with_program(PROGRAMS["shuffled-300"])
    with pytest.raises(UserError, match="network 'lenet'"):
        build("lenet", shape=(4,), classes=3)


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, values: np.ndarray, columns: list[str]) -> None:
        self.values, self.columns = values, columns

    def __getitem__(self, names: list[str]) -> "Frame":
        return Frame(self.values[:, [self.columns.index(name) for name in names]], names)

    def to_numpy(self) -> np.ndarray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)


def test_columns_of_a_data_frame_are_found_by_name(data: RealData) -> None:
    space, values = data.space, data.test.images.numpy()
    turned = Frame(values[:, ::-1], list(COLUMNS[::-1]))
    assert torch.equal(space.normalise(turned), space.normalise(values))
    assert torch.equal(space.normalise(values.tolist()), space.normalise(values))
    with pytest.raises(UserError, match="rows must be numbers: complex ones have two parts"):
        space.normalise(values + 1j)
    with pytest.raises(UserError, match="the table lacks the column 'age' of the set"):
        space.normalise(Frame(values[:, :2], list(COLUMNS[:2])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :3], r"shape \(240, 3\), but must be \(n, 4\)"),
        (lambda x: np.where(x == 7, np.nan, x), "missing or not finite"),
        (lambda x: x * np.array([1, 1, 1e300, 1]), rf"\(float32 ends at 3.4e38\), in column '{COLUMNS[2]}'"),
        (lambda x: x.astype(str).astype(object) + "m", "are no numbers"),
        (lambda x: x + 1j, "are no numbers: complex ones have two parts"),
        (lambda x: torch.complex(torch.from_numpy(x), torch.from_numpy(x)), "are no numbers: complex ones"),
        (lambda x: x[0], r"shape \(4,\)"),
    ],
)
def test_impossible_rows_are_refused_in_one_line(change: Any, message: str) -> None:
    values, labels = rows()
    with pytest.raises(UserError, match=message) as caught:
        load_rows((change(values), labels), columns=COLUMNS)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*has no test split")
@pytest.mark.parametrize(
    ("shape", "message"), [((40, 3), "in column 2 .counted"), ((40, 3, 5), "in channel 2 .counted")]
)
def test_a_column_without_a_name_is_counted(shape: tuple[int, ...], message: str) -> None:
    values, labels = np.random.default_rng(0).random(shape), np.arange(40) % 2
    space, broken = load_rows((values, labels)).space, values.copy()
    broken[3, 2] = np.nan
    for use in (lambda: load_rows((broken, labels)), lambda: space.normalise(broken)):
        with pytest.raises(UserError, match=message):
            use()


def test_rows_given_as_images_are_told_of_load_rows() -> None:
    with pytest.raises(UserError, match=r"load_rows takes rows of numbers \(n, columns\)$"):
        load_data(rows())


def test_a_set_of_rows_that_contradicts_itself_cannot_be_made(run: Path) -> None:
    distilled = DistilledSet.load(run)
    with pytest.raises(UserError, match=r"must be \(n, 4\)"):
        replace(distilled, inputs=distilled.inputs[:, :3])
    with pytest.raises(UserError, match="two columns have one name"):
        replace(distilled.header.space, columns=("a", "a", "b", "c"))
