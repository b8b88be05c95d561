"""Accuracy against steps, epochs and examples, as in the paper; each point is a distillation."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..config import Config, as_dict
from ..evaluation import Protocol
from ..loop import LoopSettings
from ..methods.dataset_distillation import DatasetDistillation
from ..networks.start import Fixed, Random, Start
from ..recipes import recipe
from ..report import Line, spread
from ..resuming import CONFIG
from ..run import distill
from .base import Part, Records, Study


@dataclass(frozen=True, kw_only=True)
class Point:
    """The position of one distillation in the picture, and its settings."""

    line: str
    at: int
    ipc: int
    steps: int
    epochs: int
    start: Start

    @property
    def name(self) -> str:
        """The name of the part that measures this point."""
        return f"{self.line.replace(' ', '-')}-{self.at}"


@dataclass(frozen=True, kw_only=True)
class Sweep(Study):
    """A study of accuracy against one setting of the method; each point is a distillation."""

    axis: str
    """Label of the horizontal axis."""
    points: Sequence[Point]
    recipe: str = "mnist-random"
    """Recipe whose data, network and initialiser are used. The inner optimiser is gradient descent, as in the paper."""
    iterations: int = 300
    """Outer iterations of each point."""
    step_size: float = 0.02
    """Initial value of every learned step size."""
    networks: int = 20
    """Number of networks that measure each point for random initial weights."""
    seconds_per_step: float = 3.0
    """Expected seconds of a point on two CPU cores, per gradient step of its program."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the expected seconds and the labels."""
        plain = asdict(self) | {"points": [asdict(point) for point in self.points]}
        return {key: value for key, value in plain.items() if key not in ("seconds_per_step", "title", "axis")}

    def parts(self) -> list[Part]:
        """Return a part for each point."""
        return [
            Part(
                name=point.name,
                seconds=20 + self.seconds_per_step * point.steps * point.epochs,
                measure=lambda folder, point=point: self._measure(point, folder),
            )
            for point in self.points
        ]

    def _measure(self, point: Point, folder: Path) -> dict[str, Any]:
        config = self._config(point)
        found = distill(config, folder, resume=(folder / CONFIG).exists()).header
        return {"score": found.score, "provenance": found.provenance, "config": as_dict(config)}

    def _config(self, point: Point) -> Config:
        method = DatasetDistillation(
            ipc=point.ipc,
            steps=point.steps,
            epochs=point.epochs,
            step_size=self.step_size,
            examples_rate=0.03,
            step_sizes_rate=0.02,
        )
        return replace(
            recipe(self.recipe),
            recipe=self.name,
            method=method,
            loop=LoopSettings(iterations=self.iterations, average=0.98, validate_every=50),
            protocol=Protocol(networks=self.networks),
            start=point.start,
            random_sets=0,
        )

    def figure(self, records: Records) -> str:
        """Draw a line for each kind, with a band of one standard deviation over networks."""
        from ..report.charts import lines_chart  # imports matplotlib, which takes a second

        return lines_chart(self._lines(records), self.axis)

    def text(self, records: Records) -> str:
        """Write the picture, the numbers and the time taken."""
        seconds = sum(record["part_seconds"] for record in records.values())
        one = next(iter(records.values()))["score"]
        return f"""## {self.title}

![{self.title}](figure.svg)

{_numbers(self._lines(records), self.axis)}

Each point is one distillation of {self.iterations} outer iterations, with gradient descent as inner optimiser. The set
with the best validation accuracy is measured on {one["images"]} test images: by {self.networks} unseen networks for
random initial weights (the band is their standard deviation), by one network for fixed initial weights. Each point was
distilled with one seed, so differences of one or two percentage points mean nothing.

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes ({one["hardware"]}).
"""

    def _lines(self, records: Records) -> list[Line]:
        lines = []
        for name in dict.fromkeys(point.line for point in self.points):
            points = [point for point in self.points if point.line == name]
            scores = [records[point.name]["score"] for point in points]
            mean, sd = ([score[key] for score in scores] for key in ("mean", "sd"))
            lines.append(Line(name=name, at=[point.at for point in points], mean=mean, sd=sd))
        return lines


def _numbers(lines: Sequence[Line], axis: str) -> str:
    """Write the lines of the picture as a table."""
    ats = sorted({at for line in lines for at in line.at})
    rows = [f"| {axis} | " + " | ".join(map(str, ats)) + " |", "|---" * (len(ats) + 1) + "|"]
    for line in lines:
        found = {at: spread(mean, sd or None) for at, mean, sd in zip(line.at, line.mean, line.sd, strict=True)}
        rows.append(f"| {line.name} | " + " | ".join(found.get(at, "") for at in ats) + " |")
    return "\n".join(rows)


def _both(values: Sequence[int], sizes: Callable[[int], tuple[int, int]]) -> list[Point]:
    """Return the points of a line for fixed and one for random initial weights.

    Args:
        values: positions on the horizontal axis.
        sizes: function that gives (steps, epochs) for each value.
    """
    return [
        Point(line=f"{start.kind} initial weights", at=value, ipc=steps, steps=steps, epochs=epochs, start=start)
        for start in (Fixed(), Random())
        for value, (steps, epochs) in ((value, sizes(value)) for value in values)
    ]


STEPS = Sweep(
    name="steps",
    title="Accuracy against the number of steps",
    axis="steps, one example of each class in each, 3 epochs",
    points=_both((1, 2, 5, 10), lambda steps: (steps, 3)),
)
EPOCHS = Sweep(
    name="epochs",
    title="Accuracy against the number of epochs",
    axis="epochs of 10 steps, one example of each class in each",
    points=_both((1, 2, 3, 5), lambda epochs: (10, epochs)),
)
EXAMPLES = Sweep(
    name="examples",
    title="Accuracy against examples per class",
    axis="examples per class, 3 epochs",
    points=[
        Point(line=line, at=ipc, ipc=ipc, steps=steps or ipc, epochs=3, start=Random())
        for line, steps in (("all in one step", 1), ("one step each", 0))
        for ipc in (1, 2, 5, 10)
    ],
)
