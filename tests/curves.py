"""The first outer iterations of each recipe, made small and computed in float64, as plain numbers.

The real loop (limits on gradients, Adam, schedule, average) runs on the recipe's own network and settings; only what
costs time is made smaller, and what makes the numbers a matter of rounding is avoided: see `SMALLER`.
"""

import functools
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

import datastill.loop
from datastill.config import Config, differences
from datastill.data import DataSettings, RealData, load_data
from datastill.data.huggingface import from_folder
from datastill.loop import first_state, optimise
from datastill.methods import Method
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks import weights_file
from datastill.networks.start import Draws
from datastill.recipes import recipe
from datastill.run import prepare
from datastill.runlog import read_lines
from datastill.training import Engine, Unroll

from .toys import unrolled

ROOT = Path(os.environ.get("DATASTILL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
ITERATIONS = 3

SHORT = {"steps": 2, "unroll": Unroll(window=2), "real_batch": 64, "start_from": "noise", "coordinates": "pixels"}
LONG = {"epochs": 6, "unroll": Unroll(window=3), "real_batch": 64, "start_from": "noise", "coordinates": "pixels"}
POOL = {"ipc": 2, "real_batch": 16, "pool": 2, "age": 3, "coordinates": "pixels"}
FIXED = {"epochs": 1, "steps": 2, "ipc": 2, "real_batch": 8, "coordinates": "pixels"}
SHUFFLED = {
    "ipc": 2,
    "batch": 4,
    "epochs": 2,
    "unroll": Unroll(window=3, growth=2),
    "real_batch": 8,
    "start_from": "noise",
    "coordinates": "pixels",
}
SMALLER = {
    "mnist-random": SHORT,
    "mnist-random-decoded": SHORT,
    "mnist-random-long": LONG,
    "mnist-random-10": LONG,
    "fashion-random": LONG,
    "usps-random": LONG,
    "usps-random-10": LONG,
    "mnist-fixed": {"epochs": 4, "real_batch": 64},
    "cifar10-random": {"epochs": 1, "steps": 2, "ipc": 2, "real_batch": 8, "coordinates": "pixels"},
    "cifar10-random-10": {"epochs": 2, "real_batch": 8, "start_from": "noise", "coordinates": "pixels"},
    "cifar10-random-long": {
        "epochs": 1,
        "unroll": Unroll(window=1),
        "ipc": 2,
        "real_batch": 8,
        "start_from": "noise",
        "coordinates": "pixels",
    },
    "cifar10-random-decoded": {
        "epochs": 1,
        "unroll": Unroll(window=1),
        "ipc": 5,
        "real_batch": 8,
        "start_from": "noise",
        "coordinates": "pixels",
    },
    "cifar10-fixed": FIXED,
    "cifar10-fixed-long": FIXED,
    "cifar10-fixed-momentum": FIXED,
    "imagenette-alexnet": {"epochs": 2, "real_batch": 4},
    "kernel-mnist": {**POOL, "ipc": 10},  # the size of its warm start
    "kernel-cifar10": POOL,
    "kernel-fashion": POOL,
    "kernel-cifar10-1": {**POOL, "ipc": 1},
    "kernel-cifar10-1-decoded": {**POOL, "ipc": 1},
    "kernel-cifar10-decoded": POOL,
    "kernel-cifar10-decoded-wide": POOL,
    "kernel-cifar10-whitened": POOL,
    "kernel-mnist-1-decoded": {**POOL, "ipc": 1},
    "kernel-mnist-decoded": POOL,
    "unrolled-mnist": {**SHUFFLED, "ipc": 1},
    "unrolled-cifar10": SHUFFLED,
    "matching-mnist": {"ipc": 2, "real_per_class": 4},
    "matching-cifar10": {"ipc": 2, "real_per_class": 4},
}
"""Settings of the methods that make an iteration a matter of a fraction of a second on one core, and depend less on
rounding: real images are full of ties, principal coordinates along which real images do not vary are arbitrary, and
the first step of Adam is nearly a jump where a gradient is nearly 0, which most windows leave out."""
CLASSES = {"cifar10": 3, "imagenette": 3}
"""Only the first classes of these data are taken."""
WHITENED = ("kernel-cifar10-whitened", "kernel-cifar10-decoded", "kernel-cifar10-decoded-wide")
SIDE = {"imagenette": 64, "digits": 4, **dict.fromkeys(WHITENED, 16)}
"""Height and width that the images of these data, or of this recipe, are resized to. Every pixel of 4x4 digits varies,
so that their principal coordinates are well defined; the whitening of 32x32 takes a minute."""


def missing(name: str) -> str:
    """Why the curve of a recipe cannot be computed here; empty where it can."""
    data = recipe(name).data.name
    if data != "digits" and not (ROOT / data).is_dir():
        return f"no {data} in {ROOT}; set DATASTILL_DATA"
    if weights_file(recipe(name).network) and not (ROOT / "weights").is_dir():
        return f"no weights in {ROOT}; set DATASTILL_DATA"
    return ""


def small(name: str) -> Config:
    """The recipe with less to do, in float64."""
    config = recipe(name)
    method = replace(config.method, **SMALLER.get(name, {}))
    if isinstance(method, DatasetDistillation):
        engine = Engine(mode="stored", execution="eager", together=method.networks, precision="float64")
        method = unrolled(method, engine=engine)
    return replace(
        config,
        data=replace(config.data, resize=SIDE.get(name, SIDE.get(config.data.name, config.data.resize))),
        method=method,
        warm_start="" if config.warm_start.endswith(".safetensors") else config.warm_start,  # a file of the user
        loop=replace(config.loop, iterations=ITERATIONS),
        device="cpu",
    )


def changes(name: str) -> list[str]:
    """The settings that differ from the recipe's."""
    keys_and_values = (line.partition(": ") for line in differences(recipe(name), small(name)))
    fewer = CLASSES.get(recipe(name).data.name)
    return [
        *(f"{key} = {values.rpartition(' != ')[2]}" for key, _, values in keys_and_values),
        *([f"the first {fewer} classes only"] if fewer else []),
    ]


@functools.cache
def real_data(settings: DataSettings) -> RealData:
    """The data of a recipe; of large data a fifth of the test split alone, as if it were all."""
    if settings.name == "digits":
        return load_data(settings)
    folder = ROOT / settings.name
    if any(folder.glob("*ubyte*")):
        images, labels = (each.numpy() for each in vars(load_data(str(folder)).test).values())
        splits = {"train": (images[::5], labels[::5]), "test": (images[1:500:5], labels[1:500:5])}
    else:
        table = from_folder(folder)["test"]
        splits = {"train": table.select(range(0, len(table), 5)), "test": table.select(range(1, 500, 5))}
    with warnings.catch_warnings(action="ignore"):  # test images of these sets are not all different
        data = load_data(splits, **vars(settings))
    few = CLASSES.get(settings.name, data.classes)
    train = data.train.take((data.train.labels < few).nonzero()[:, 0])
    return replace(data, train=train, class_names=data.class_names[:few])


def noisy(clean: Draws, size: float, stream: torch.Generator) -> Draws:
    """Other initial weights with normal noise on each, relative to its size."""

    def draw(seed: int, iteration: int, which: Sequence[int]) -> torch.Tensor:
        thetas = clean(seed, iteration, which).double()
        return thetas * (1 + size * torch.randn(thetas.shape, generator=stream, dtype=thetas.dtype))

    return Draws(start=clean.start, draw=draw)


Curve = dict[str, list[float]]


def curve(name: str, *, noise: float = 0.0, seed: int = 0, **method: float) -> Curve:
    """What the loop logs in each iteration, and how far it moved what is learned.

    Args:
        name: of the recipe.
        noise: relative size of noise on the initial weights.
        seed: of the noise.
        method: other settings of the method, to see what a wrong one changes.
    """
    config = small(name)
    config = replace(config, method=replace(config.method, **method))
    double = mock.patch.object(Method, "dtype", torch.float64)  # of methods without an engine
    with double, mock.patch.dict(os.environ, {"DATASTILL_DATA": str(ROOT)}):  # weights are looked up there, too
        run = prepare(config, real_data(config.data))
    task, settings = run.task, run.config.method
    if noise:
        task = replace(task, draws=noisy(task.draws, noise, torch.Generator().manual_seed(seed)))
    state = first_state(settings, settings.init(task))
    start = state.learned
    all_digits = mock.patch.object(datastill.loop, "rounded", float)
    with tempfile.TemporaryDirectory() as folder, all_digits:
        end = optimise(
            settings,
            task,
            state,
            config.loop,
            Path(folder),
            validate=lambda _: {"mean": 0.0, "sd": 0.0, "n": 1},
        )
        logged = [record for record in read_lines(Path(folder) / "metrics.jsonl") if "objective" in record]
    return {
        "objective": [record["objective"] for record in logged],
        **{f"gradient norm, {each}": [record["gradient_norm"][each] for record in logged] for each in start},
        **{f"moved, {each}": [float((end.learned[each] - start[each]).norm())] for each in start},
        **{f"moved, average of {each}": [float((end.averaged[each] - start[each]).norm())] for each in start},
    }


def distance(one: Curve, other: Curve) -> float:
    """The largest relative difference of two curves."""
    return max(abs(a / b - 1) for a, b in pairs(one, other))


def pairs(one: Curve, other: Curve) -> Iterator[tuple[float, float]]:
    """The numbers of two curves side by side."""
    for key, values in one.items():
        yield from zip(values, other[key], strict=True)
