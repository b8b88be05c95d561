"""A distilled set in a notebook: a picture of its examples and a table of facts, as a piece of HTML.

Names come from files and from strangers, so every text is escaped; there are no scripts and no links.
"""

from html import escape

from ..artifact import DistilledSet
from ..terminal import printable
from . import rows, sentences
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
        image = f'<img src="{picture}" alt="{distilled.size} synthetic examples" style="max-width: 100%">'
        numbers = rows.values(distilled)
        return image + (_table(numbers) if numbers else "")
    return f"<table>{''.join(_row(line.label, line.words) for line in shown[:MOST_SENTENCES])}</table>"


def _table(shown: rows.Values) -> str:
    return f"<table>{_row('', *shown.labels)}{''.join(_row(name, *each) for name, each in shown.lines)}</table>"


def _row(name: str, *values: str) -> str:
    cells = "".join(f'<td style="text-align: left">{_text(value)}</td>' for value in values)
    return f'<tr><th style="text-align: left">{_text(name)}</th>{cells}</tr>'


def _text(value: str) -> str:
    return escape(printable(value))
