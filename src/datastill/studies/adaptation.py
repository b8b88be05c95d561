"""Networks trained on one data set, adapted to another: table 2 of the paper."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..config import Config
from ..data import DataSettings
from ..evaluation import difference, score
from ..loop import LoopSettings
from ..methods.dataset_distillation import DatasetDistillation
from ..networks.start import FromPool
from ..pretraining import PoolSettings, pretrain
from ..program import AugmentationName
from ..report import spread
from . import rows
from .base import Part, Records
from .paper import NOTE
from .pools import OnPool
from .rows import KINDS, count_and_accuracy, scores_of


@dataclass(frozen=True, kw_only=True)
class Adaptation(OnPool):
    """Compares networks before adaptation, trained on distilled sets, on real images, and on all target data."""

    fine_tuning: int = 2
    """Number of passes over all target data in the last row."""
    paper: Sequence[str] = ("", "", "")
    """Accuracies of the paper: before adaptation, random pretrained, fixed pretrained."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the expected seconds and the paper's numbers."""
        return super().settings() | {"fine_tuning": self.fine_tuning}

    def parts(self) -> list[Part]:
        """Return a part for each row."""
        return self.named(
            {
                "before": self._before,
                **{kind: lambda folder, kind=kind: self._baseline(kind, folder) for kind in KINDS},
                "random-pretrained": self._any,
                "fixed-pretrained": lambda folder: {"scores": [self.distilled(0, folder).header.score]},
                "fine-tuning": self._fine_tuned,
            }
        )

    def _any(self, folder: Path) -> dict[str, Any]:
        return {"scores": [self.distilled(None, folder).header.score]}

    def _before(self, folder: Path) -> dict[str, Any]:
        plain = self._plain(self.pool(folder)[1])
        found = score(plain, self.data, trained=False)
        return {"scores": [found.as_dict()], "pool": self.about(folder)}

    def _baseline(self, kind: str, folder: Path) -> dict[str, Any]:
        pool, start = self.pool(folder)
        return rows.baseline(KINDS[kind], self.beside(start), self.sets, len(pool.held_out))

    def _fine_tuned(self, folder: Path) -> dict[str, Any]:
        pool, start = self.pool(folder)
        settings = replace(
            self.source, data=self.target.data, start=start, count=1, epochs=self.fine_tuning,
            held_out=len(pool.held_out),
        )  # fmt: skip
        tuned = folder.parent / "fine-tuned.safetensors"
        pretrain(settings, self.data, tuned)
        plain = self._plain(FromPool(str(tuned)))
        return {"scores": [score(plain, self.data, trained=False).as_dict()]}

    def _plain(self, start: FromPool) -> DistilledSet:
        """Return a set by which networks are measured that are not trained on it."""
        (plain,) = rows.sets(KINDS["random"], self.beside(start), 1, tune=False)
        return plain

    def text(self, records: Records) -> str:
        """Write the table: before adaptation, distilled sets, real images, and all target data."""
        ours = scores_of(records["random-pretrained"])
        titles = {
            "before": ("no adaptation", self.paper[0]),
            "random-pretrained": ("**distilled, random pretrained**", self.paper[1]),
            "fixed-pretrained": ("**distilled, one known pretrained network**", self.paper[2]),
            **{name: (kind.title, "") for name, kind in KINDS.items()},
            "fine-tuning": (f"all target data, {self.fine_tuning} passes", ""),
        }
        rows = []
        for name, (title, claim) in titles.items():
            scores = scores_of(records[name])
            better = str(difference(ours, scores)) if name not in ("random-pretrained", "fixed-pretrained") else ""
            rows.append(f"| {title} | {count_and_accuracy(scores)} | {claim} | {better} |")
        table, pool, method = "\n".join(rows), records["before"]["pool"], self.method
        seconds = sum(record["part_seconds"] for record in records.values())
        changed = _changed(self.source.augmentation) + self.later()
        own = statistics.fmean(pool["accuracies"]["held_out"])
        return f"""## {self.title}

A pool of networks ({self.source.network}) was trained on {_laid(self.source.data)}: {self.source.count} to distil
with, and {self.source.held_out} held out, with a validation accuracy of {spread(own)} % there. Every row is the
accuracy of the held-out networks on the test split of {_laid(self.target.data)}. Each set has
{method.ipc} examples per class. Training on distilled sets takes
{method.epochs} epochs; on real images, the number with the best validation accuracy.{changed}
The last column is the accuracy of the set for random pretrained networks minus that of the row, in percentage points,
with the 95 % interval over networks.

| networks trained on | networks x sets | accuracy, % | 2018 paper, % | distilled set is better by |
|---|---|---|---|---|
{table}

The file of the pool is too large to be kept here (its SHA-256 begins with {pool["sha256"][:16]}). The command trains
the pool again if the file is missing, in about {pool["seconds"] / 60:.0f} minutes.

{NOTE}

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes ({ours[0].hardware}).
"""


def _laid(data: DataSettings) -> str:
    """Write the name of the data, and the changes of its images if there are any."""
    changes = [f"resized to {data.resize}x{data.resize}"] if data.resize else []
    changes += [f"with {data.pad} black pixels around"] if data.pad else []
    changes += [f"in {data.channels}"] if data.channels != "keep" else []
    return f"{data.name} ({' '.join(changes)})" if changes else data.name


def _changed(augmentation: AugmentationName) -> str:
    """Say how real images are changed, on a new line, if they are."""
    words = f"\nThe pool is trained, and sets learn, on real images with the augmentation {augmentation}."
    return words if augmentation != "none" else ""


def _pair(
    source: DataSettings,
    target: DataSettings,
    paper: Sequence[str],
    iterations: int,
    *,
    count: int,
    epochs: int,
    held_out: int = 20,
    step_size: float = 0.003,
    augmentation: AugmentationName = "none",
    onward: int | None = None,
) -> Adaptation:
    return Adaptation(
        name=f"adapt-{source.name}-{target.name}".replace("_", "-"),
        title=f"Adaptation: {source.name} to {target.name}",
        onward=onward,
        source=PoolSettings(
            data=source,
            count=count,
            held_out=held_out,
            epochs=epochs,
            augmentation=augmentation,
            snapshots=0 if onward is None else epochs,
        ),
        target=Config(
            data=target,
            network="lenet",
            method=DatasetDistillation(
                steps=1,
                epochs=30,
                optimiser="adam",
                step_size=step_size,
                examples_rate=0.05,
                step_sizes_rate=0.01,
                augment_real=augmentation,
            ),
            loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.99, validate_every=50),
        ),
        paper=paper,
    )


PAIRS = (
    _pair(
        DataSettings(name="usps", resize=28),
        DataSettings(name="mnist"),
        ("67.5 ± 3.9", "92.7 ± 1.4", "93.2 (†)"),
        450,
        count=50,
        epochs=10,
    ),
    _pair(
        DataSettings(name="mnist"),
        DataSettings(name="usps", resize=20, pad=4),
        ("90.4 ± 3.0 (†)", "95.4 ± 1.8 (†)", "97.9 (†)"),
        1000,
        count=40,
        epochs=6,
        step_size=0.0005,
        augmentation="affine",
        onward=3,
    ),
    _pair(
        DataSettings(name="mnist", channels="colour"),
        DataSettings(name="mnist_m"),
        ("", "", ""),
        500,
        count=20,
        held_out=10,
        epochs=2,
    ),
)
