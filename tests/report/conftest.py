import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from datastill.artifact import DistilledSet, Header, Pixels
from datastill.networks.start import Fixed, Random
from datastill.report import write_report

from ..sets import set_of_steps

COMMAND = "datastill distill digits --method.steps 3 --note '<b>&'"


def distilled_set(
    *, steps=3, epochs=1, labels=None, classes=4, shape=(1, 8, 8), soft=False, score=None, fixed=False, scale=1.0
) -> DistilledSet:
    """A set whose every pixel is known from the seed; `labels` is one row of classes for each step."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(labels if labels is not None else [list(range(classes))] * steps)
    if soft:
        labels = torch.nn.functional.one_hot(labels, classes).float() * 0.7 + 0.3 / classes
    examples = scale * torch.randn(steps, labels.shape[1], *shape, generator=generator)
    header = Header(
        data="digits",
        class_names=tuple(f"class {c}" for c in range(classes)),
        space=Pixels(mean=(0.3,) * shape[0], std=(0.4,) * shape[0], shape=shape),
        network="mlp",
        start=Fixed() if fixed else Random(),
        method="dataset_distillation",
        config={"method": {"steps": steps}},
        provenance={"torch": "2.13", "seconds": 61.0, "real_images": 1500},
        score=score,
    )
    theta = {"weight": torch.ones(4, 3)} if fixed else None
    sizes = 0.01 + torch.rand(epochs, steps, generator=generator) / 10
    return set_of_steps(examples, labels, sizes, header=header, theta_0=theta)


def spaced(count: int, *, mean: float, sd: float) -> list[float]:
    """Evenly spaced values with this mean and standard deviation."""
    step = sd / math.sqrt(count * (count + 1) / 12)
    return [mean + step * (k - (count - 1) / 2) for k in range(count)]


def moments(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}


def measured(*, length=3, baseline=True) -> dict:
    score = {
        "split": "test",
        "images": 360,
        **moments(accuracies := spaced(20, mean=0.8768, sd=0.0123)),
        "n": 20,
        "accuracies": accuracies,
        "seconds": 1.5,
        "hardware": "2-core x86_64 CPU",
        "protocol": {"networks": 20, "network": "mlp", "start": {"kind": "random", "initialiser": "xavier"}, "seed": 1},
        "curve": {
            "split": "validation",
            "networks": 10,
            "images": 300,
            "mean": [0.1 + 0.7 * t / length for t in range(length + 1)],
            "sd": [0.02] * (length + 1),
        },
    }
    if baseline:
        rest = spaced(19, mean=(20 * 0.61 - 0.7) / 19, sd=0.0465)
        score["baseline"] = {"kind": "random real", "sets": 20, "best": 0.7, **moments([0.7, *rest])}
        score["baseline"]["accuracies"] = [0.7, *rest]
    return score


def counted(classes: int) -> dict:
    """A score whose networks answer most examples right, and those that are wrong as the next class."""
    each = 120
    rows = [[0] * classes for _ in range(classes)]
    for i, row in enumerate(rows):
        row[i], row[(i + 1) % classes] = each - each // (2 + i), each // (2 + i)
    mean = sum(row[i] for i, row in enumerate(rows)) / (each * classes)
    accuracies = {"mean": mean, "sd": 0.0, "accuracies": [mean] * 20}
    return measured() | {"images": each * classes // 20, **accuracies, "confusion": rows}


def metrics(iterations: int = 200) -> list[dict]:
    lines = [{"iteration": i, "objective": 2.3 / (1 + i / 50), "skipped": 0} for i in range(1, iterations)]
    return lines + [{"iteration": i, "validation": {"mean": 0.4, "sd": 0.1, "n": 20}} for i in range(0, iterations, 50)]


def write_run(folder: Path, distilled: DistilledSet, *, lines=None, config=True) -> Path:
    """A run folder as a run leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    distilled.save(folder / "distilled.safetensors")
    if lines is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if config:
        settings = {"data": {"name": "digits"}, "loop": {"iterations": 200, "decay": [0.5, 100], "clip": None}}
        record = {"recipe": "digits", "command": COMMAND, "version": "9.8.7", "config": settings}
        (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def make():
    return distilled_set


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run of 3 steps x 2 epochs."""
    return write_run(tmp_path / "run", distilled_set(epochs=2, score=measured(length=6)), lines=metrics())


@pytest.fixture
def run_of(tmp_path):
    """A function that writes a run folder about a set."""
    return lambda distilled, **rest: write_run(tmp_path / "run", distilled, **rest)


@pytest.fixture
def score_of():
    return measured


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The page, with its charts, of the run of `finished`; it is only read."""
    folder = tmp_path_factory.mktemp("drawn") / "run"
    return write_report(write_run(folder, distilled_set(epochs=2, score=measured(length=6)), lines=metrics()))


@pytest.fixture
def undrawn(monkeypatch):
    """Pages whose charts have all their words and no picture."""
    for name in ("step_size_chart", "program_chart", "accuracy_chart"):
        monkeypatch.setattr(f"datastill.report.charts.{name}", lambda *_, **__: "<svg></svg>")


@pytest.fixture
def without_charts(monkeypatch):
    """Pages without charts, which take longer to draw than all the rest."""
    monkeypatch.setattr("datastill.report.page._charts", lambda run: iter(()))
