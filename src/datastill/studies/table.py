"""Table 1 of the paper: the distilled sets and every baseline, measured with the same networks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ..artifact import DistilledSet
from ..baselines import Beside
from ..data import RealData, load_data
from ..device import pick_device
from ..evaluation import Grid, Protocol, Score, difference, score
from ..recipes import recipe
from . import rows
from .base import Part, Records
from .needed import OnSets
from .paper import NOTE, TABLE
from .rows import KINDS, Kind, as_score, core_sets, count_and_accuracy, scores_of

NEIGHBOURS = [f"nearest-neighbours(k={k},norm={norm})" for k in (1, 3, 5) for norm in (1, 2)]
"""Classifiers from which the nearest neighbours are chosen, on validation images."""
NEAREST = {
    "random-nearest-neighbours": "nearest neighbours on random real images",
    "k-means-nearest-neighbours": "nearest neighbours on k-means",
}
"""The rows of nearest neighbours on two kinds of baselines."""


@dataclass(frozen=True, kw_only=True)
class Table(OnSets):
    """A study of the distilled sets of one data set and every baseline, with intervals of the differences."""

    data: str
    """Name of the real data."""
    random: str
    """Recipe of the set for random initial weights; the baselines take its network, size and steps."""
    fixed: str = ""
    """Recipe of the set for fixed initial weights; empty if there is none."""
    sets: int = 5
    """Number of sets of each kind of baseline that depends on the seed."""
    networks: int = 20
    """Number of networks that measure each set."""
    features: str = "lenet"
    """Network whose features are used to choose core-sets, besides pixels."""
    choose: Grid = field(default_factory=Grid)
    """Step sizes, epochs and optimisers to choose from; the epochs and optimiser of the distilled set are added."""
    seconds: float = 60.0
    """Expected seconds of one kind on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the folder of the results, the title and the expected seconds."""
        return self.settings_except("results", "seconds", "title", "trust")

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipes of the sets in the first rows."""
        return [name for name in (self.random, self.fixed) if name]

    def parts(self) -> list[Part]:
        """Return a part for each kind of baseline, and for nearest neighbours on two of them."""
        kinds = [
            Part(name=name, seconds=self.seconds, measure=lambda _, kind=kind: self._kind(kind))
            for name, kind in self.kinds.items()
        ]
        neighbours = [
            Part(
                name=f"{kind}-nearest-neighbours",
                seconds=self.seconds / 3,
                measure=lambda _, kind=kind: self._neighbours(KINDS[kind]),
            )
            for kind in ("random", "k-means")
        ]
        return [*kinds, *neighbours]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of baselines, by the names of their parts."""
        return {**KINDS, **core_sets(self.features)}

    @property
    def titles(self) -> dict[str, str]:
        """The names of the rows below the distilled sets, by the names of their parts."""
        return {name: kind.title for name, kind in self.kinds.items()} | NEAREST

    @cached_property
    def _data(self) -> RealData:
        return load_data(recipe(self.random).data).to(pick_device("auto"))

    @cached_property
    def _beside(self) -> Beside:
        ours = self._set(self.random)
        return Beside.of(ours, self._data, recipe(self.random).data, tune=self.choose.matching(ours))

    def _kind(self, kind: Kind) -> dict[str, Any]:
        return rows.baseline(kind, self._beside, self.sets, self.networks)

    def _neighbours(self, kind: Kind) -> dict[str, Any]:
        sets = list(rows.sets(kind, self._beside, self.sets, tune=False))
        chosen = max(NEIGHBOURS, key=lambda each: self._nearest(sets[0], each, "validation").mean)
        scores = [self._nearest(one, chosen, "test").as_dict() for one in sets]
        return {"scores": scores, "bytes": sets[0].nbytes, "chosen": chosen}

    def _nearest(self, distilled: DistilledSet, network: str, split: Literal["test", "validation"]) -> Score:
        return score(distilled, self._data, Protocol(network=network), split=split)

    def text(self, records: Records) -> str:
        """Write the table, with the distilled sets first."""
        claims, ours = TABLE.get(self.data, {}), self._ours(self.random)
        rows = [
            _row(
                f"**distilled, {self._set(name).size} examples, {title}**",
                [self._ours(name)],
                self._bytes(name),
                claims.get(claim),
                "",
            )
            for title, name, claim in (
                ("fixed initial weights", self.fixed, "fixed"),
                ("random initial weights", self.random, "random-init"),
            )
            if name
        ]
        for name, title in self.titles.items():
            scores, size = scores_of(records[name]), records[name]["bytes"]
            rows.append(_row(title, scores, size, claims.get(name), str(difference([ours], scores))))
        table, beside = "\n".join(rows), self._beside
        network, grid = beside.config.network, beside.config.tune
        seconds = sum(record["part_seconds"] for record in records.values())
        return f"""## {self.title}

Network: {network}. Each set has {beside.ipc} examples per class with hard labels, in {_steps(beside.steps)}.
The step size, epochs and optimiser of baselines are chosen on validation images from
{_set_of(grid.step_sizes)} x {_set_of(grid.epochs)} x
{_set_of(grid.optimisers)}; the test split is used once. The last column is the
accuracy of the set for random initial weights minus that of the row, in percentage points, with the 95 % interval over
networks that start from the same weights.

| set | bytes | networks x sets | accuracy, % | 2018 paper, % | distilled set is better by |
|---|---|---|---|---|---|
{table}

{NOTE}

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes ({scores_of(records["random"])[0].hardware}).
"""

    def _set(self, name: str) -> DistilledSet:
        return self.find_set(name)

    def _ours(self, name: str) -> Score:
        return as_score(dict(self._set(name).header.score or {}))

    def _bytes(self, name: str) -> int:
        distilled = self._set(name)
        return distilled.nbytes + distilled.initial_nbytes


def _row(title: str, scores: list[Score], size: int, claim: object, better: str) -> str:
    return f"| {title} | {size} | {count_and_accuracy(scores)} | {claim or ''} | {better} |"


def _steps(count: int) -> str:
    return "one step" if count == 1 else f"{count} steps"


def _set_of(values: Iterable[object]) -> str:
    return "{" + ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values) + "}"
