"""Sets that make trained networks misclassify one class after a gradient step, and defences against them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..config import Config
from ..data import DataSettings
from ..evaluation import Grid, Protocol, score, with_clean
from ..loop import LoopSettings
from ..methods.dataset_distillation import DatasetDistillation
from ..objectives import Misread
from ..pretraining import PoolSettings
from ..report import spread_of
from ..storage.records import read
from ..training import Unroll
from . import rows
from .base import Part, Records
from .effect import Effect, effect_of
from .pools import OnPool
from .rows import KINDS


@dataclass(frozen=True, kw_only=True)
class Poisoning(OnPool):
    """A study of attacks in one gradient step, by learned sets and relabelled real images, and of defences."""

    smaller: Sequence[float] = (0.3, 0.1, 0.03, 0.01)
    """Step sizes to try as a defence, as fractions of the learned step size."""
    clips: Sequence[float] = (10.0, 3.0, 1.0, 0.3)
    """Limits on the norm of the gradient to try as a defence."""
    clean: Sequence[int] = (10, 50, 100)
    """Numbers of correctly labelled real images per class to mix into the step as a defence."""
    grid: Grid = field(default_factory=lambda: Grid(epochs=(1,)))
    """Settings to choose from for the training on relabelled real images."""
    paper: str = ""
    """The paper's share of misclassified images."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the expected seconds and the paper's numbers."""
        own = ("smaller", "clips", "clean", "grid")
        return super().settings() | {name: value for name, value in asdict(self).items() if name in own}

    def parts(self) -> list[Part]:
        """Return a part for each row, and one for all defences."""
        return self.named(
            {
                "random-pretrained": self._learned,
                "fixed-pretrained": lambda folder: {"attacks": [_own(self.distilled(0, folder))]},
                **{kind: lambda folder, kind=kind: self._baseline(kind, folder) for kind in KINDS},
                "defences": self._defences,
            }
        )

    def _learned(self, folder: Path) -> dict[str, Any]:
        return {"attacks": [_own(self.distilled(None, folder))], "pool": self.about(folder)}

    def _baseline(self, kind: str, folder: Path) -> dict[str, Any]:
        _, start = self.pool(folder)
        beside = self.beside(start)
        beside = replace(beside, config=replace(beside.config, tune=self.grid))
        return {"attacks": [self._effect(one) for one in rows.sets(KINDS[kind], beside, self.sets)]}

    def _defences(self, folder: Path) -> dict[str, Any]:
        learned = DistilledSet.load(folder.parent.parent / "random-pretrained.safetensors")
        size, plain = float(learned.step_sizes.max()), Protocol(start=self.pool(folder)[1])
        tried = {
            **{
                f"a step size of {part:g} of it": (learned, replace(plain, step_size=part * size))
                for part in self.smaller
            },
            **{f"gradients clipped to a norm of {clip:g}": (learned, replace(plain, clip=clip)) for clip in self.clips},
            **{f"{ipc} clean images of each class": (with_clean(learned, self.data, ipc), plain) for ipc in self.clean},
        }
        found = {name: self._effect(one, protocol) for name, (one, protocol) in tried.items()}
        return {"defences": found, "step_size": size}

    def _weighed(self, attacked: str) -> str:
        """Say how often an image of the attacked class counts, on a new line, if it is not once."""
        objective = self.target.objective
        if not isinstance(objective, Misread) or objective.weight == 1:
            return ""
        return f"\nWhile distilling, an image of class {attacked!r} counts {objective.weight} times, and others once."

    def _effect(self, distilled: DistilledSet, protocol: Protocol | None = None) -> dict[str, Any]:
        return effect_of(distilled, score(distilled, self.data, protocol).as_dict())

    def text(self, records: Records) -> str:
        """Write two tables: learned sets and relabelled real images; defences."""
        titles = {
            "random-pretrained": "**distilled, random pretrained**",
            "fixed-pretrained": "**distilled, one known pretrained network**",
            **{name: f"{kind.title}, relabelled" for name, kind in KINDS.items()},
        }
        rows = [_row(titles[name], records[name]["attacks"]) for name in titles]
        defences = [_row(name, [each]) for name, each in records["defences"]["defences"].items()]
        first = read(Effect, records["random-pretrained"]["attacks"][0], "attack")
        pool, method = records["random-pretrained"]["pool"], self.method
        before = " and ".join(
            f"{spread_of(getattr(first.before, name))} % {what}"
            for name, what in (("misread", "of them are"), ("overall", "of all test images are classified correctly"))
        )
        seconds = sum(record["part_seconds"] for record in records.values())
        own = spread_of(pool["accuracies"]["held_out"])
        table, against = "\n".join(rows), "\n".join(defences)
        return f"""## {self.title}

A pool of networks ({self.source.network}) was trained on {self.source.data.name}: {self.source.count} to distil with,
and {self.source.held_out} held out to measure. Each set has {method.ipc} examples per class, in one
gradient step. The question is which share of the test images of class {first.attack_class!r} is classified as
{first.target_class!r} after the step (column "misclassified"). Before the step, {before}. The share in the
paper is {self.paper}.{self.later()}{self._weighed(first.attack_class)}

| networks trained on | networks x sets | misclassified, % | accuracy, % | accuracy on the other classes, % |
|---|---|---|---|---|
{table}

Defences against the first set, measured with the same networks. Its learned step size is
{records["defences"]["step_size"]:.3g}.

| defence | networks x sets | misclassified, % | accuracy, % | accuracy on the other classes, % |
|---|---|---|---|---|
{against}

The file of the pool is too large to be kept here (its SHA-256 begins with {pool["sha256"][:16]}). The command trains
the pool again if the file is missing, in about {pool["seconds"] / 60:.0f} minutes. The held-out networks have a
validation accuracy of {own} %.

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes.
"""


def _own(distilled: DistilledSet) -> dict[str, Any]:
    """Return the effect that the score of a run says."""
    return effect_of(distilled, distilled.header.score)


def _row(title: str, plain: Sequence[Mapping[str, Any]]) -> str:
    found = [read(Effect, each, "attack") for each in plain]
    cells = (
        spread_of([value for one in found for value in getattr(one.after, name)])
        for name in ("misread", "overall", "others")
    )
    return f"| {title} | {found[0].n} x {len(found)} | {' | '.join(cells)} |"


def _attack_on(
    data: str,
    network: str,
    objective: Misread,
    paper: str,
    *,
    iterations: int,
    onward: int | None = None,
    **source: Any,
) -> Poisoning:
    return Poisoning(
        name=f"attack-{data}",
        title=f"Attack: {data}",
        source=PoolSettings(data=DataSettings(name=data), network=network, **source),
        target=Config(
            data=DataSettings(name=data),
            network=network,
            objective=objective,
            method=DatasetDistillation(
                steps=1, epochs=1, step_size=0.1, examples_rate=0.3, step_sizes_rate=0.03, unroll=Unroll(networks=8)
            ),
            loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.99, validate_every=50),
        ),
        paper=paper,
        onward=onward,
    )


ATTACKS = (
    _attack_on("mnist", "lenet", Misread(0, 1), "71.4 ± 29.6 %", iterations=600, count=400, held_out=20, epochs=2),
    _attack_on(
        "cifar10", "lenet", Misread(0, 1, weight=4), "45.9 ± 18.1 % (AlexCifarNet)",
        iterations=600, onward=3, count=90, held_out=20, epochs=6, snapshots=6, schedule="constant",
    ),
)  # fmt: skip
