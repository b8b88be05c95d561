"""Synthetic rows of a table as numbers, with the names and in the units of the real columns."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ..artifact import DistilledSet
from ..space import Vectors
from .sentences import labels_of

MOST_SHOWN = 8
"""The largest number of rows that are shown."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of the first examples; each example is a column here, as tables often have more columns than that."""

    labels: list[str]
    """The class of each example; with soft labels, the most probable one with its probability."""
    lines: list[tuple[str, list[str]]]
    """The name of each column of the table, and its value in each example."""
    note: str
    """Sentence that says how many examples are left out; empty if all are shown."""


def values(distilled: DistilledSet) -> Values | None:
    """Return the values of a set of rows; None for a set of something else."""
    if type(distilled.header.space) is not Vectors:
        return None
    names, rows = distilled.header.space.table(distilled.inputs[:MOST_SHOWN])
    columns = zip(*rows, strict=True)
    hidden = f"The first {MOST_SHOWN} of {distilled.size} examples; datastill export --kind csv writes all of them."
    return Values(
        labels=list(labels_of(distilled))[:MOST_SHOWN],
        lines=[(name, [f"{value:.4g}" for value in each]) for name, each in zip(names, columns, strict=True)],
        note=hidden if distilled.size > MOST_SHOWN else "",
    )


def table(shown: Values) -> Table:
    """Return values as a table for the terminal."""
    found = Table.grid(padding=(0, 2))
    found.add_row("", *(Text(label, style="bold", justify="right") for label in shown.labels))
    for name, each in shown.lines:
        found.add_row(Text(name, style="dim"), *(Text(value, justify="right") for value in each))
    return found
