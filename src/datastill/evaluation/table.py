"""Several sets under one protocol, in rows that can be compared."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError
from .compare import Difference, difference
from .protocol import Protocol
from .score import Score, score
from .tune import Grid, tuned


@dataclass(frozen=True, kw_only=True)
class Row:
    """Sets of one kind on one architecture."""

    name: str
    method: str
    labels: str
    """``hard`` or ``soft``: the two are never to be compared as if they were one thing."""
    examples: int
    bytes: int
    """Of examples, labels, step sizes and stored initial weights, of one set."""
    network: str
    sets: int
    scores: list[Score]
    """One for each set."""
    difference: Difference | None
    """How much better the first row of this network is; None for itself."""

    @property
    def mean(self) -> float:
        """Over all networks of all sets."""
        return statistics.fmean(self.accuracies)

    @property
    def sd(self) -> float:
        """Over all networks of all sets; 0 for one."""
        return statistics.stdev(self.accuracies) if self.n > 1 else 0.0

    @property
    def between(self) -> float | None:
        """Standard deviation of the sets' means: how far distillation seeds differ. None for one set."""
        return statistics.stdev(score.mean for score in self.scores) if self.sets > 1 else None

    @property
    def n(self) -> int:
        """Networks of all sets together."""
        return len(self.accuracies)

    @property
    def accuracies(self) -> list[float]:
        """Of all networks of all sets."""
        return [accuracy for score in self.scores for accuracy in score.accuracies]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"mean": self.mean, "sd": self.sd, "n": self.n, "between": self.between}


def compare(
    groups: Mapping[str, Sequence[DistilledSet]],
    data: RealData,
    protocol: Protocol,
    *,
    networks: Sequence[str] = (),
    grid: Grid | None = None,
    split: Literal["test", "validation"] = "test",
    images: int | None = None,
    progress: bool = False,
) -> Iterator[Row]:
    """A row for each group of sets and each network, as soon as it is measured.

    Args:
        groups: sets of one kind by name, e.g. random sets that differ in their seed.
        data: the real data.
        protocol: the same for all.
        networks: architectures, in the place of that of the protocol; the first group is the one that the others
            are compared with on each.
        grid: choose step size and epochs from it on validation images, for the first set of each group and each
            network; the sets' own when left out.
        split: ``validation`` for every choice, ``test`` once at the end.
        images: only so many images of the split.
        progress: show progress on the terminal.

    Raises:
        UserError: an empty group, or sets that do not belong to the data.
    """
    for name, group in groups.items():
        if not group:
            raise UserError(f"there is no distilled set in {name}")
    for network in networks or [protocol.network]:
        asked, first = replace(protocol, network=network), None
        for name, group in groups.items():
            chosen = tuned(group[0], data, asked, grid) if grid else asked
            scores = [score(one, data, chosen, split=split, images=images, progress=progress) for one in group]
            row = Row(
                name=name,
                method=group[0].header.method,
                labels=scores[0].protocol["labels"],
                examples=group[0].size,
                bytes=group[0].nbytes + group[0].initial_nbytes,
                network=scores[0].protocol["network"],
                sets=len(group),
                scores=scores,
                difference=difference(first.scores, scores) if first else None,
            )
            first = first or row
            yield row
