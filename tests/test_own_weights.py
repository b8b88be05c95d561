"""Sets for the weights that a network comes with: known ones, which the file names and does not hold."""

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tests.pretrained
from datastill.artifact import DistilledSet
from datastill.baselines import Beside
from datastill.cli import main
from datastill.data import DataSettings
from datastill.errors import UserError
from datastill.evaluation import Grid, Protocol, score, verify
from datastill.exporting import export
from datastill.methods.selection import RandomReal
from datastill.networks import build
from datastill.networks.start import Pretrained, Random
from datastill.pretraining import PoolSettings, pretrain
from datastill.report import write_report
from datastill.run import distill

from .toys import toy_config, toy_data

pytestmark = pytest.mark.usefixtures("operations_not_counted")

DATA = toy_data()
NETWORK = "tests.pretrained:tiny"
FROZEN = "tests.pretrained:tiny(adapt=classifier)"


@pytest.fixture(scope="module", params=[NETWORK, FROZEN])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "run"
    distill(toy_config(network=request.param, start="pretrained"), folder, data=DATA)
    return folder


@pytest.fixture
def distilled(run: Path) -> DistilledSet:
    return DistilledSet.load(run / "distilled.safetensors", trust=True)


@pytest.fixture
def trained_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's maker gives other weights from now on."""
    before = tests.pretrained.tiny

    @functools.wraps(before)  # whose signature tells which arguments there are
    def otherwise(**settings: Any) -> nn.Module:
        return before(**{**settings, "training": 2})

    monkeypatch.setattr(tests.pretrained, "tiny", otherwise)


def test_the_set_names_the_weights_and_does_not_hold_them(distilled: DistilledSet) -> None:
    network = build(distilled.header.network, shape=DATA.shape, classes=3)
    assert distilled.header.start == Pretrained(network.sha256(network.own()))
    assert distilled.theta_0 is None
    assert distilled.header.frozen == network.sha256()


def test_it_is_measured_from_them_alone(distilled: DistilledSet) -> None:
    claimed = distilled.header.score
    assert (claimed["n"], claimed["protocol"]["start"]) == (1, asdict(distilled.header.start))
    assert verify(distilled, DATA)["largest_difference"] == 0.0
    network = build(distilled.header.network, shape=DATA.shape, classes=3)
    model = distilled.fit(network.factory())
    predicted = model(distilled.normalise(DATA.test.images)).argmax(1)
    assert float((predicted == DATA.test.labels).float().mean()) == pytest.approx(claimed["mean"])
    frozen = {name: value for name, value in model.named_parameters() if name in network.frozen}
    assert all(torch.equal(value, network.frozen[name]) for name, value in frozen.items())


@pytest.mark.usefixtures("trained_otherwise")
def test_other_weights_are_refused(distilled: DistilledSet) -> None:
    with pytest.raises(UserError, match=r"has other weights \(SHA-256 .*\) than the set was made for"):
        score(distilled, DATA)
    network = build(distilled.header.network, shape=DATA.shape, classes=3)
    with pytest.raises(
        UserError, match=r"this model has other weights; make it with build_network\(...\)\.factory\(\)"
    ):
        distilled.fit(network.factory())
    distilled.fit(network.factory(), use_initial=False)


def test_another_network_starts_from_its_own_or_is_told_that_it_has_none(distilled: DistilledSet) -> None:
    other = score(distilled, DATA, Protocol(network="tests.pretrained:tiny(training=3)"))
    assert (other.n, other.protocol["start"]) == (1, asdict(Pretrained()))
    with pytest.raises(UserError, match="draws its weights at random"):
        score(distilled, DATA, Protocol(network="mlp(width=4)"))
    assert score(distilled, DATA, Protocol(network="mlp(width=4)", start=Random(), networks=2)).n == 2


def test_a_set_for_drawn_weights_insists_on_those_that_are_frozen(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    distilled = distill(toy_config(network=FROZEN), tmp_path / "run", data=DATA)
    assert distilled.header.start == Random()
    assert distilled.header.score["n"] == 3
    request.getfixturevalue("trained_otherwise")
    with pytest.raises(UserError, match="has other weights"):
        score(distilled, DATA)


def test_a_pool_insists_on_those_that_are_frozen(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "pool.safetensors"
    settings = PoolSettings(data=DataSettings(name="toy"), network=FROZEN, count=3, held_out=1, epochs=1)
    pretrain(settings, DATA, path)
    config = toy_config(network=FROZEN, start=f"pool:{path}")
    assert distill(config, tmp_path / "run", data=DATA).header.score["n"] == 1
    request.getfixturevalue("trained_otherwise")
    with pytest.raises(UserError, match=r"has other frozen weights \(SHA-256 .*\) than the pool"):
        distill(config, tmp_path / "other", data=DATA)


def test_a_set_for_stored_weights_fits_a_network_with_frozen_ones(tmp_path: Path) -> None:
    distilled = distill(toy_config(network=FROZEN, start="fixed"), tmp_path / "run", data=DATA)
    assert set(distilled.theta_0) == {"classifier.weight", "classifier.bias"}
    model = distilled.fit(build(FROZEN, shape=DATA.shape, classes=3).factory())
    predicted = model(distilled.normalise(DATA.test.images)).argmax(1)
    assert float((predicted == DATA.test.labels).float().mean()) == pytest.approx(distilled.header.score["mean"])


def test_random_real_images_are_measured_from_the_same_weights(distilled: DistilledSet) -> None:
    beside = Beside.of(distilled, DATA, tune=Grid(step_sizes=(0.1,), epochs=(1,)))
    baseline = beside.made(RandomReal())
    assert baseline.header.start == distilled.header.start
    found = score(baseline, DATA)
    network = build(baseline.header.network, shape=DATA.shape, classes=3)
    predicted = baseline.fit(network.factory())(baseline.normalise(DATA.test.images)).argmax(1)
    assert found.accuracies == [pytest.approx(float((predicted == DATA.test.labels).float().mean()))]


def test_a_baseline_is_made_from_a_network_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--network", NETWORK, "--start", "pretrained", "--ipc", "1", "--out", str(tmp_path), "--json"]
    assert main(["baseline", "random", "digits", *settings]) == 0
    assert [one["n"] for one in json.loads(capsys.readouterr().out)["scores"]] == [1]
    assert DistilledSet.load(tmp_path / "0.safetensors").header.start.kind == "pretrained"


def test_what_people_read_says_so(run: Path, distilled: DistilledSet, tmp_path: Path) -> None:
    page = write_report(run).read_text()
    assert "made for the weights that the network comes with" in page
    assert "with the weights that the network comes with" in page
    export(distilled, tmp_path / "png", "png")
    readme = (tmp_path / "png" / "README.md").read_text()
    header = distilled.header
    assert f"The pretrained weights of the network {header.network}, which the export does not hold" in readme
    assert header.start.required_sha256 in readme


def test_a_network_that_draws_its_weights_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="draws its weights at random"):
        distill(toy_config(start="pretrained"), tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()
