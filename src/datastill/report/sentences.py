"""Synthetic sentences as lines of text: the nearest words of each example, for the terminal and for the page."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..artifact import DistilledSet, Stored
from ..program import Ordered
from .words import percent

MOST_LINES = 100
"""The largest number of sentences that are shown."""


@dataclass(frozen=True)
class Line:
    """One synthetic sentence."""

    step: str
    """The number of its gradient step; empty if the examples are shuffled."""
    label: str
    """The name of its class; with soft labels, of the most probable one, with its probability."""
    words: str
    """The word that is nearest to the vector at each place."""


def lines(distilled: DistilledSet) -> list[Line] | None:
    """Return the first examples as lines of text; None if they are shown as pictures."""
    found = distilled.header.space.lines(distilled.inputs[:MOST_LINES])
    if found is None:
        return None
    batch = distilled.size // distilled.batches
    ordered = isinstance(distilled.program.order, Ordered)
    return [
        Line(str(place // batch + 1) if ordered else "", label, words)
        for place, (label, words) in enumerate(zip(labels_of(distilled), found, strict=False))
    ]


def labels_of(distilled: DistilledSet) -> Iterator[str]:
    """Yield the class of each example; with soft labels, the most probable one with its probability."""
    names = distilled.header.class_names
    probabilities = isinstance(distilled.header.labels, Stored) and distilled.targets.dim() == 2
    for place, number in enumerate(distilled.class_of_each.tolist()):
        share = f" {percent(float(distilled.targets[place, number]))} %" if probabilities else ""
        yield names[number] + share


def caption(distilled: DistilledSet) -> str:
    """Return the text below the sentences: how to read them."""
    text = "Each example is a sequence of vectors; here are the words with the nearest vectors, place by place. "
    text += "A dot is an empty place."
    if not distilled.hard:
        text += " Labels are soft: the most probable class is shown."
    if distilled.size > MOST_LINES:
        text += f" The first {MOST_LINES} of {distilled.size} examples are shown."
    return text


def table(shown: list[Line]) -> RenderableType:
    """Return lines as a table for the terminal."""
    found = Table.grid(padding=(0, 2))
    for line in shown:
        found.add_row(Text(line.step, style="dim"), Text(line.label), Text(line.words, style="italic"))
    return found
