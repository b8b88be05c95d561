"""Small things that many tests use: data of 4x4 images that a network can learn, and a run's settings for them."""

import functools
from dataclasses import replace

import torch

from datastill.artifact import DistilledSet, Header
from datastill.config import Config
from datastill.data import DataSettings, RealData, Split, load_data
from datastill.evaluation import Protocol
from datastill.loop import LoopSettings
from datastill.methods import Method, Task
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks import build
from datastill.networks.start import Random, parse_start
from datastill.training import Engine, Unroll

from .sets import set_of_steps

PLAIN_ENGINE = [
    "--method.engine.mode=stored", "--method.engine.execution=eager", "--method.engine.together=1",
    "--method.engine.precision=float32",
]  # fmt: skip
"""Options of the command line with which nothing is measured to choose the engine."""


@functools.cache
def toy_data(seed: int = 0, count: int = 240) -> RealData:
    """Three classes of noisy 4x4 patterns, 60 % train, 20 % validation, 20 % test."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    patterns = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(99))
    images = (patterns[labels] + 0.25 * torch.randn(count, 1, 4, 4, generator=draw)).clamp(0, 1)
    test = count // 5
    splits = {
        "train": ((images[test:] * 255).byte(), labels[test:]),
        "test": ((images[:test] * 255).byte(), labels[:test]),
    }
    return load_data(splits, name="toy", validation=0.25)


def unrolled(method: Method, **changes: object) -> DatasetDistillation:
    """The method with other settings of `Unroll`."""
    assert isinstance(method, DatasetDistillation)
    return replace(method, unroll=replace(method.unroll, **changes))


def toy_config(*, engine: Engine | None = None, **changes: object) -> Config:
    """A run of a second or two on `toy_data`; `engine` is that of its method."""
    settings: dict = {
        "data": DataSettings(name="toy", validation=0.25, in_memory=True),
        "network": "mlp(width=8,depth=1)",
        "method": DatasetDistillation(
            ipc=2,
            steps=2,
            epochs=2,
            real_batch=32,
            step_size=0.1,
            coordinates="principal",
            unroll=Unroll(networks=2),
        ),
        "loop": LoopSettings(iterations=6, validate_every=3, checkpoint_every=2),
        "protocol": Protocol(networks=3),
    }
    settings |= changes
    if engine:
        settings["method"] = unrolled(settings["method"], engine=engine)
    if isinstance(settings.get("start"), str):
        settings["start"] = parse_start(settings["start"])
    return Config(**settings)


def toy_task(start: str = "random", seed: int = 0, data: RealData | None = None) -> Task:
    """A small network on `toy_data`."""
    data = data or toy_data()
    network = build("mlp(width=8,depth=1)", shape=data.shape, classes=data.classes)
    return Task(data=data, network=network, draws=parse_start(start).bound(network, seed=seed), seed=seed)


def toy_set(data: RealData, rule: str = "sgd", **header: object) -> DistilledSet:
    """Class means as a distilled set of one step, two epochs, trained by the optimiser called `rule`."""
    means = torch.stack(
        [data.normalise(data.train.images[data.train.labels == k]).mean(0) for k in range(data.classes)]
    )
    about: dict = {
        "data": "toy",
        "class_names": data.class_names,
        "space": data.space,
        "network": "mlp(width=8,depth=1)",
        "start": Random(),
    }
    sizes = torch.full((2, 1), 0.5)
    return set_of_steps(means[None], torch.arange(data.classes)[None], sizes, rule, header=Header(**(about | header)))


def with_classes_reversed(data: RealData) -> RealData:
    """The data with its classes in reversed order: every image keeps the name of its class, not its number."""

    def renumbered(split: Split) -> Split:
        return replace(split, labels=data.classes - 1 - split.labels)

    splits = {name: renumbered(getattr(data, name)) for name in ("train", "validation", "test")}
    return replace(data, class_names=data.class_names[::-1], **splits)
