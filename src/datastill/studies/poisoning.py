"""Sets that make trained networks misread one class after a gradient step, and what helps against them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..baselines import BASELINES
from ..data import DataSettings
from ..evaluation import AttackScore, Grid, Protocol, attacked, with_clean
from ..loop import LoopSettings
from ..methods.dataset_distillation import DatasetDistillation
from ..pretraining import PoolSettings
from ..recipes import Config
from ..report import spread_of
from .base import Part, Records
from .pools import OnPool
from .rows import KINDS, settings_of


@dataclass(frozen=True, kw_only=True)
class Poisoning(OnPool):
    """What is learned beside relabelled real images, all in one gradient step, and the learned set against defences."""

    smaller: Sequence[float] = (0.3, 0.1, 0.03, 0.01)
    """Step sizes as parts of the learned one."""
    clips: Sequence[float] = (10.0, 3.0, 1.0, 0.3)
    """Limits on the norm of the gradient."""
    clean: Sequence[int] = (10, 50, 100)
    """Rightly labelled real images of each class in the step."""
    grid: Grid = field(default_factory=lambda: Grid(epochs=(1,)))
    """Step sizes of the relabelled baselines."""
    paper: str = ""
    """The paper's share of misread images."""

    def settings(self) -> dict[str, Any]:
        """All but how long it takes and what the paper says."""
        own = ("smaller", "clips", "clean", "grid")
        return super().settings() | {name: value for name, value in asdict(self).items() if name in own}

    def parts(self) -> list[Part]:
        """One for each row, and one for all defences."""
        return self.named(
            {
                "random-pretrained": self._learned,
                "fixed-pretrained": lambda folder: {"attacks": [_attack(self.distilled("#0", folder))]},
                **{kind: lambda folder, kind=kind: self._baseline(kind, folder) for kind in KINDS},
                "defences": self._defences,
            }
        )

    def _learned(self, folder: Path) -> dict[str, Any]:
        return {"attacks": [_attack(self.distilled("", folder))], "pool": self.about(folder)}

    def _baseline(self, kind: str, folder: Path) -> dict[str, Any]:
        _, name = self.pool(folder)
        baseline = BASELINES[kind]()
        setting = replace(self.setting(name), grid=self.grid)
        sets = [baseline.build(each) for each in settings_of(baseline, setting, self.sets)]
        return {"attacks": [attacked(one, self.data).as_dict() for one in sets]}

    def _defences(self, folder: Path) -> dict[str, Any]:
        learned = DistilledSet.load(folder.parent.parent / "random-pretrained.safetensors")
        size, plain = float(learned.step_sizes.max()), Protocol(initialiser=self.pool(folder)[1])
        tried = {
            **{
                f"a step size of {part:g} of it": (learned, replace(plain, step_size=part * size))
                for part in self.smaller
            },
            **{f"gradients clipped to a norm of {clip:g}": (learned, replace(plain, clip=clip)) for clip in self.clips},
            **{f"{ipc} clean images of each class": (with_clean(learned, self.data, ipc), plain) for ipc in self.clean},
        }
        found = {name: attacked(one, self.data, protocol).as_dict() for name, (one, protocol) in tried.items()}
        return {"defences": found, "step_size": size}

    def text(self, records: Records) -> str:
        """Two tables: what was learned and relabelled real images; defences."""
        titles = {
            "random-pretrained": "**distilled, random pretrained**",
            "fixed-pretrained": "**distilled, one known pretrained network**",
            **{kind: f"{title}, relabelled" for kind, title in KINDS.items()},
        }
        rows = [_row(titles[name], records[name]["attacks"]) for name in titles]
        defences = [_row(name, [each]) for name, each in records["defences"]["defences"].items()]
        first = AttackScore.from_dict(records["random-pretrained"]["attacks"][0])
        pool, method = records["random-pretrained"]["pool"], self.target.method
        before = ", ".join(
            f"{spread_of(getattr(first.before, name))} % {what}"
            for name, what in (("misread", "are misread so"), ("overall", "of all images are read rightly"))
        )
        seconds = sum(record["part_seconds"] for record in records.values())
        own = spread_of(pool["accuracies"]["held_out"])
        table, against = "\n".join(rows), "\n".join(defences)
        return f"""## {self.title}

{self.source.count} networks ({self.source.network}) trained on {self.source.data.name} to distil with, and
{self.source.held_out} held out. Sets have {getattr(method, "ipc", "?")} examples of each class, in one gradient step.
What share of the test images of class {first.attack_class!r} is read as {first.target_class!r}?
Before the step, {before}. The paper: {self.paper}.

| what they are trained on | networks x sets | misread, % | accuracy, % | of the other classes, % |
|---|---|---|---|---|
{table}

What helps against the first set, on the same networks (its step size is {records["defences"]["step_size"]:.3g}):

| defence | networks x sets | misread, % | accuracy, % | of the other classes, % |
|---|---|---|---|---|
{against}

The pool is too large to be kept here: SHA-256 {pool["sha256"][:16]}, {pool["seconds"] / 60:.0f} minutes to train
again, which the command does where it is missing. Those held out read {own} % of its validation images.

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes.
"""


def _attack(distilled: DistilledSet) -> Mapping[str, Any]:
    return (distilled.header.score or {})["attack"]


def _row(title: str, plain: Sequence[Mapping[str, Any]]) -> str:
    found = [AttackScore.from_dict(each) for each in plain]
    cells = (
        spread_of([value for one in found for value in getattr(one.after, name)])
        for name in ("misread", "overall", "others")
    )
    return f"| {title} | {found[0].n} x {len(found)} | {' | '.join(cells)} |"


def _attack_on(
    data: str, network: str, classes: tuple[int, int], paper: str, *, iterations: int, **source: Any
) -> Poisoning:
    return Poisoning(
        name=f"attack-{data}",
        title=f"Attack: {data}",
        source=PoolSettings(data=DataSettings(name=data), network=network, **source),
        target=Config(
            data=DataSettings(name=data),
            network=network,
            objective="attack",
            attack_class=classes[0],
            target_class=classes[1],
            method=DatasetDistillation(
                steps=1, epochs=1, networks=8, step_size=0.1, examples_rate=0.3, step_sizes_rate=0.03
            ),
            loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.99, validate_every=50),
        ),
        paper=paper,
    )


ATTACKS = (
    _attack_on("mnist", "lenet", (0, 1), "71.4 ± 29.6 %", iterations=600, count=400, held_out=20, epochs=2),
    _attack_on(
        "cifar10", "lenet", (0, 1), "45.9 ± 18.1 % (AlexCifarNet)",
        iterations=300, count=60, held_out=20, epochs=5, rate=0.002,
    ),
)  # fmt: skip
