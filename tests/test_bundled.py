"""Sets that come with the package: each opens, teaches what it says, and is small."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import datastill
from datastill.bundled import FOLDER, names
from datastill.cli import main
from datastill.errors import UserError
from datastill.networks import build
from datastill.networks.start import Random
from datastill.program import Shuffled
from datastill.rng import generator

from .toys import toy_data, toy_set

RESULTS = Path(__file__).parents[1] / "results"
KIND = "-(matching|kernel|decoded)$"
"""The end of the name of a set: nothing for sets for LeNet or AlexCifarNet with hard labels, made by unrolling."""
NARROW = "convnet(width=64"
"""The beginning of the network that sets were made with that are scored with one of width 128, in minutes each."""

FASTER = {"cifar10-100": "lenet", "cifar10-10": "lenet"}
"""Networks that learn faster than the one that a set was made for, and learn from it, too; for sets for ConvNets, a
narrow one."""


@pytest.mark.parametrize("name", names())
def test_a_set_that_comes_along_says_where_it_is_from_and_what_it_is_worth(name: str) -> None:
    ready = datastill.load(name)
    images = ready.inputs if ready.stored is None else ready.stored
    assert re.sub(KIND, "", name) == f"{ready.header.data}-{len(images)}"
    assert ready.header.score["n"] >= (20 if NARROW not in ready.header.network else 5)
    assert isinstance(ready.header.start, Random), "it is for anybody's network"
    assert ready.header.provenance["seconds"] > 0
    assert ready.header.config["method"]["name"] == ready.header.method
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 350_000


@pytest.mark.parametrize("name", names())
def test_a_network_learns_from_it_offline(name: str) -> None:
    """Trained on the set, a network tells the set's own examples apart, which it cannot before."""
    ready = datastill.load(name)
    spec = "convnet(width=16,depth=2)" if re.search(KIND, name) else FASTER.get(name, ready.header.network)
    network = build(spec, shape=ready.shape, classes=ready.classes)
    model = network.factory()
    theta = network.init(ready.header.start.drawn_by, [generator(0, "test")])[0]
    model.load_state_dict(network.named(theta), strict=False)
    if isinstance(ready.program.order, Shuffled):  # fewer than its 300 epochs
        ready = ready.with_program(replace(ready.program, order=ready.program.order.with_epochs(20)))
    images, targets = ready.as_dataset().tensors
    labels = targets if ready.hard else targets.argmax(1)
    before = (model(images).argmax(1) == labels).float().mean()
    after = (ready.fit(model)(images).argmax(1) == labels).float().mean()
    assert after > before + 0.3


@pytest.mark.parametrize("name", names())
def test_it_is_the_set_of_the_results(name: str) -> None:
    """Whoever reads a figure of the results gets this set from the package."""
    ready = datastill.load(name)
    kept = datastill.load(RESULTS / ready.header.config["recipe"] / "distilled.safetensors")
    assert torch.equal(ready.inputs, kept.inputs)
    assert torch.equal(ready.targets, kept.targets)
    assert ready.program.length(ready.size) == kept.program.length(kept.size)
    assert ready.header.score["accuracies"] == kept.header.score["accuracies"]


def test_there_are_some() -> None:
    assert "mnist-100" in names()


def test_a_path_is_a_path(tmp_path: Path) -> None:
    toy_set(toy_data()).save(tmp_path / "set.safetensors")
    assert torch.equal(datastill.load(tmp_path / "set.safetensors").targets, torch.arange(3))
    with pytest.raises(UserError, match="there is no distilled set at"):
        datastill.load(tmp_path / "other.safetensors")


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(UserError, match="unknown file or set in the package 'mnist-1000': did you mean 'mnist-100'"):
        datastill.load("mnist-1000")


def test_the_command_line_takes_the_names_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mnist-100"]) == 0
    assert "100 (10 per class)" in capsys.readouterr().out.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert main(["show", "mnist-10000"]) == 2
    assert "did you mean 'mnist-100'" in capsys.readouterr().err


def test_they_are_listed_with_what_they_are_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "sets"]) == 0
    said = capsys.readouterr().out
    for name in names():
        mean = datastill.load(name).header.score["mean"]
        line = next(line for line in said.splitlines() if line.startswith(f"  {name} "))
        assert f"{100 * mean:.1f} ±" in line
