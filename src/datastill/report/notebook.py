"""A distilled set in a notebook: a picture of its examples and a table of facts, as a piece of HTML.

Names come from files and from strangers, so every text is escaped; there are no scripts and no links.
"""

from html import escape

from ..artifact import DistilledSet
from ..terminal import printable
from . import sentences
from .figures import data_uri, grid
from .summary import facts

MOST_SENTENCES = 20
"""The largest number of sentences that are shown."""


def card(distilled: DistilledSet) -> str:
    """Return the HTML of a set: the examples, then what `datastill show` says about it, without digests of data."""
    rows = "".join(_row(name, value) for name, value in facts(distilled) if not name.endswith(" data"))
    return f"<div>{_examples(distilled)}<table>{rows}</table></div>"


def _examples(distilled: DistilledSet) -> str:
    shown = sentences.lines(distilled)
    if shown is None:
        picture = data_uri(grid(distilled, transparent=True))
        return f'<img src="{picture}" alt="{distilled.size} synthetic examples" style="max-width: 100%">'
    return f"<table>{''.join(_row(line.label, line.words) for line in shown[:MOST_SENTENCES])}</table>"


def _row(name: str, value: str) -> str:
    return f'<tr><th style="text-align: left">{_text(name)}</th><td style="text-align: left">{_text(value)}</td></tr>'


def _text(value: str) -> str:
    return escape(printable(value))
