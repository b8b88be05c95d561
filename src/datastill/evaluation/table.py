"""Measure several sets under one protocol, as rows of one table."""

import itertools
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
    """A row of the table: sets of one kind, measured on one architecture."""

    name: str
    method: str
    labels: str
    """``hard``, ``soft`` (stored), ``teacher once`` (stored, given by a trained network) or ``teacher`` (given while
    networks are trained); accuracies with different ones must not be compared."""
    pixels: Literal["plain", "decoded"]
    """Whether networks are trained on the stored images, or on parts of them that are enlarged (``decoded``);
    accuracies with different ones must not be compared."""
    examples: int
    """Examples of one set."""
    bytes: int
    """Bytes of the examples, labels, step sizes and stored initial weights of one set."""
    network: str
    sets: int
    scores: list[Score]
    """One score per set."""
    difference: Difference | None
    """How much better the first row of this architecture and column is; None for this row itself."""

    @property
    def column(self) -> str:
        """The column of a table that the accuracy belongs into."""
        return column(self.labels, self.pixels)

    @property
    def mean(self) -> float:
        """Mean accuracy over all networks of all sets."""
        return statistics.fmean(self.accuracies)

    @property
    def sd(self) -> float:
        """Standard deviation over all networks of all sets; 0 for one network."""
        return statistics.stdev(self.accuracies) if self.n > 1 else 0.0

    @property
    def between(self) -> float | None:
        """Standard deviation of the means of the sets: how much distillation seeds differ. None for one set."""
        return statistics.stdev(score.mean for score in self.scores) if self.sets > 1 else None

    @property
    def n(self) -> int:
        """Number of networks of all sets together."""
        return len(self.accuracies)

    @property
    def accuracies(self) -> list[float]:
        """Accuracies of all networks of all sets."""
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
    """Measure each group of sets on each architecture; each row is given as soon as it is measured.

    Args:
        groups: sets of one kind by name, e.g. random sets that differ in their seed.
        data: the real data.
        protocol: the protocol for all sets.
        networks: architectures to measure on, instead of the architecture of the protocol. On each architecture, the
            groups are compared with the first group of equal kinds of labels and pixels.
        grid: step sizes and epochs to choose from on validation images, for the first set of each group on each
            architecture; None uses the step sizes of the sets.
        split: ``validation`` for every choice, ``test`` once at the end.
        images: measure on this number of images of the split; None measures on all.
        progress: show progress on the terminal.

    Raises:
        UserError: a group is empty, a set does not fit the data or needs trust, or a setting has no effect; all of this
            is found before anything is measured.
    """
    if networks and protocol.network:
        fix = "leave network out" if protocol.network in networks else "name this network with the others"
        raise UserError(
            f"network is {protocol.network!r}, but has no effect: the table is for {', '.join(networks)}; {fix}"
        )
    for name, group in groups.items():
        if not group:
            raise UserError(f"there is no distilled set in {name}")
        measured = {"labels": protocol.labels}
        kinds = dict.fromkeys(column(labels_measured(one, measured), pixels_of(one)) for one in group)
        if len(kinds) > 1:
            raise UserError(
                f"the sets in {name} cannot be compared with each other: some have {', some '.join(kinds)}; put each "
                "kind into a folder of its own"
            )
    protocols = [replace(protocol, network=network) for network in networks or [protocol.network]]
    for asked, one in itertools.product(protocols, itertools.chain(*groups.values())):
        asked.resolved(one)
    first: dict[tuple[str, str], Row] = {}
    for asked in protocols:
        for name, group in groups.items():
            chosen = tuned(group[0], data, asked, grid, progress=progress) if grid else asked
            scores = [
                score(one, data, chosen, split=split, images=images, measures=(), progress=progress) for one in group
            ]
            row = Row(
                name=name,
                method=group[0].header.method,
                labels=labels_measured(group[0], scores[0].protocol),
                pixels=pixels_of(group[0]),
                examples=group[0].size,
                bytes=group[0].nbytes + group[0].initial_nbytes,
                network=scores[0].protocol["network"],
                sets=len(group),
                scores=scores,
                difference=None,
            )
            best = first.setdefault((row.network, row.column), row)
            yield row if best is row else replace(row, difference=difference(best.scores, scores))


def labels_measured(distilled: DistilledSet, protocol: Mapping[str, Any]) -> str:
    """Return the kind of labels that a set was measured with by a protocol, as plain values."""
    kind: str = protocol.get("labels") or ("hard" if distilled.hard else "soft")
    return distilled.header.labels.column if kind == "soft" else kind


def pixels_of(distilled: DistilledSet) -> Literal["plain", "decoded"]:
    """Return whether networks are trained on the stored images of a set, or on enlarged parts of them."""
    return "plain" if distilled.header.enlarged == 1 else "decoded"


def column(labels: str, pixels: str) -> str:
    """Return the title of the column that accuracies with these labels and pixels belong into."""
    return f"{labels} labels" + (", decoded pixels" if pixels == "decoded" else "")
