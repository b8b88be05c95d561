"""Golden curves: the objectives of each recipe's first twenty outer iterations are those on record.

What is recorded is the real loop (limits on gradients, Adam, schedule) on the recipe's own network and settings; only
what costs time is made smaller, and `golden/RECIPE.json` says how. Layers are computed in float64: in float32 two ways
to round tell ties of maxima and signs of small numbers apart, and after ten iterations the curves differ by a percent,
which is as much as they do for an outer rate that is wrong by a tenth.

A change that is meant to change the curves, or a recipe, is recorded anew, and the difference is part of the review:

    DATASTILL_DATA=../shared/data python -m tests.test_golden              all recipes
    DATASTILL_DATA=../shared/data python -m tests.test_golden digits       some
"""

import functools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import pytest
import torch

from datastill.data import DataSettings, RealData, load_data
from datastill.data.huggingface import from_folder
from datastill.data.idx import image_files
from datastill.files import write_json
from datastill.loop import optimise
from datastill.methods import InitialWeights, Learned, Problem, Update
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks import Network, weights_file
from datastill.recipes import RECIPES, Config, differences, recipe
from datastill.run import prepare
from datastill.runlog import read_lines
from datastill.training import Engine

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(os.environ.get("DATASTILL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
ITERATIONS = 20
TOLERANCE = {
    "digits": 5e-3,
    "imagenette-alexnet": 5e-3,
    "cifar10-random": 5e-3,
    "cifar10-random-10": 5e-3,
    "cifar10-random-long": 5e-3,
    "cifar10-fixed": 5e-3,
    "fashion-random": 2e-3,
    "mnist-random": 2e-3,
    "mnist-random-long": 2e-3,
    "mnist-random-10": 2e-3,
    "usps-random": 2e-3,
    "usps-random-10": 2e-3,
    "mnist-fixed": 2e-3,
}
"""Relative. What is left to rounding: draws and what is learned are in float32; principal coordinates of digits, where
pixels that never vary leave them free. With other kernels, threads and last digits of draws (1e-13 of them) the curves
move by at most 0.35 %, that of mnist-random by 0.1 %; all move more for an outer rate that is wrong by 3 %."""

LONG = {"epochs": 6, "window": 3, "real_batch": 64, "start_from": "noise", "coordinates": "pixels"}
SMALLER = {
    "mnist-random": {
        "epochs": 1,
        "steps": 2,
        "step_size": 0.0005,
        "real_batch": 64,
        "start_from": "noise",
        "coordinates": "pixels",
    },
    "mnist-random-long": LONG,
    "mnist-random-10": LONG,
    "fashion-random": LONG,
    "usps-random": LONG,
    "usps-random-10": LONG,
    "mnist-fixed": {"epochs": 4, "real_batch": 64},
    "cifar10-random": {"epochs": 1, "steps": 2, "ipc": 2, "real_batch": 8, "coordinates": "pixels"},
    "cifar10-random-10": {"epochs": 2, "real_batch": 8, "coordinates": "pixels"},
    "cifar10-random-long": {"epochs": 1, "window": 1, "ipc": 2, "real_batch": 8, "coordinates": "pixels"},
    "cifar10-fixed": {"epochs": 1, "steps": 2, "ipc": 2, "real_batch": 8, "coordinates": "pixels"},
    "imagenette-alexnet": {"epochs": 2, "real_batch": 4},
}
"""Settings of the methods that make twenty iterations a matter of seconds on one core, and depend less on rounding:
real digits are full of ties, and principal coordinates of small variance are a matter of the solver and its threads."""
CLASSES = {"cifar10": 3, "imagenette": 3}
"""Only the first classes of these data are taken."""
SIDE = {"imagenette": 64}
"""Height and width that the images of these data are resized to."""


def small(name: str) -> Config:
    """The recipe with less to do."""
    config = recipe(name)
    method = replace(config.method, **SMALLER.get(name, {}))
    return replace(
        config,
        data=replace(config.data, resize=SIDE.get(config.data.name, config.data.resize)),
        method=method,
        loop=replace(config.loop, iterations=ITERATIONS),
        engine=Engine(mode="stored", execution="eager", together=method.networks),
        device="cpu",
    )


def changes(name: str) -> list[str]:
    """What is set otherwise than in the recipe."""
    keys_and_values = (line.partition(": ") for line in differences(recipe(name), small(name)))
    fewer = CLASSES.get(recipe(name).data.name)
    return [
        *(f"{key} = {values.rpartition(' != ')[2]}" for key, _, values in keys_and_values),
        *([f"the first {fewer} classes only"] if fewer else []),
    ]


@functools.cache
def real_data(settings: DataSettings) -> RealData:
    """The data of a recipe; of what is large a fifth of the test split alone, as if it were all of it."""
    if settings.name == "digits":
        return load_data(settings)
    folder = ROOT / settings.name
    if image_files(folder):
        images, labels = (each.numpy() for each in vars(load_data(str(folder)).test).values())
        splits = {"train": (images[::5], labels[::5]), "test": (images[:100], labels[:100])}
    else:
        table = from_folder(folder)["test"]
        splits = {"train": table.select(range(0, len(table), 5)), "test": table.select(range(100))}
    data = load_data(splits, **vars(settings))
    few = CLASSES.get(settings.name, data.classes)
    train = data.train.take((data.train.labels < few).nonzero()[:, 0])
    return replace(data, train=train, class_names=data.class_names[:few])


class Exact(Problem):
    """Computes its layers in float64."""

    @functools.cached_property
    def _network(self) -> Network:
        return self.network.computing(torch.float64)


@dataclass(frozen=True, eq=False)
class Doubled(InitialWeights):
    """The same draws in float64."""

    single: InitialWeights

    def draw(self, seed: int, iteration: int, which: Sequence[int]) -> torch.Tensor:
        return self.single.draw(seed, iteration, which).double()


class Rounded(DatasetDistillation):
    """The same gradients in float32, as the loop takes them."""

    def gradient(self, problem: Problem, learned: Learned, iteration: int) -> Update:
        update = super().gradient(problem, learned, iteration)
        return replace(update, gradients={name: each.float() for name, each in update.gradients.items()})


def curve(name: str, folder: Path) -> list[float]:
    """The objectives that the loop logs in `folder`."""
    config = small(name)
    with mock.patch.dict(os.environ, {"DATASTILL_DATA": str(ROOT)}):  # where weights are looked up, too
        given = prepare(config, real_data(config.data)).problem
    problem = Exact(
        data=given.data,
        network=given.network,
        initial=Doubled(given.initial),
        seed=given.seed,
        engine=given.engine,
    )
    optimise(
        Rounded(**vars(config.method)),
        problem,
        config.loop,
        folder,
        validate=lambda _: {"mean": 0.0, "sd": 0.0, "n": 1},
    )
    return [record["objective"] for record in read_lines(folder / "metrics.jsonl") if "objective" in record]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_first_iterations_of_a_recipe_are_those_on_record(name: str, tmp_path: Path) -> None:
    data = recipe(name).data.name
    if data != "digits" and not (ROOT / data).is_dir():
        pytest.skip(f"no {data} in {ROOT}; set DATASTILL_DATA")
    if weights_file(recipe(name).network) and not (ROOT / "weights").is_dir():
        pytest.skip(f"no weights in {ROOT}; set DATASTILL_DATA")
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert golden["changes"] == changes(name), f"record anew: python -m tests.test_golden {name}"
    assert len(golden["objectives"]) == ITERATIONS
    assert curve(name, tmp_path) == pytest.approx(golden["objectives"], rel=TOLERANCE[name])


def test_every_record_is_that_of_a_recipe() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(RECIPES)


def record(names: list[str]) -> None:
    """Write the curves as they are now."""
    for name in names or sorted(RECIPES):
        with tempfile.TemporaryDirectory() as folder:
            found = curve(name, Path(folder))
        write_json(GOLDEN / f"{name}.json", {"changes": changes(name), "objectives": found})
        print(f"{name}: {found[0]} ... {found[-1]}")


if __name__ == "__main__":
    record(sys.argv[1:])
