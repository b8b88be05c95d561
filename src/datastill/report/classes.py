"""How well each class is recognised, and which classes are mistaken for which: rows and a matrix for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .words import number, percent, plural

MOST_CELLS_ACROSS = 20
"""The largest number of classes whose matrix shows a number in each cell; that of more classes is a picture."""
BLUE = (0, 114, 178)
LEAST_SHOWN = 0.005
"""Shares below this one are left out of the cells: they would read 0."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One class of the table."""

    name: str
    share: float
    """The share of its examples that are answered right."""
    accuracy: str
    mistaken: str
    """The class that its examples are most often mistaken for, with the share; empty if there are no mistakes."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One pair of a true class and an answered class."""

    title: str
    """The pair in words."""
    text: str
    """The share of the true class in percent, without the sign; empty if it rounds to 0."""
    strength: float
    """How strongly the cell is coloured, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What the page says about single classes."""

    summary: str
    rows: list[Row]
    matrix: list[list[Cell]]
    """A row for each true class; empty if the picture takes its place."""
    picture: Image.Image | None
    """One pixel for each pair of classes; None if the matrix takes its place."""


def classes(score: Mapping[str, Any] | None, names: Sequence[str]) -> Classes | None:
    """Return what a score says about single classes; None if it does not count the answers."""
    counts = np.array((score or {}).get("confusion") or [], dtype=float)
    if not counts.size:
        return None
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    few = len(names) <= MOST_CELLS_ACROSS
    cells = [[_cell(share, i, j, names) for j, share in enumerate(row)] for i, row in enumerate(shares)] if few else []
    return Classes(
        summary=_summary(shares, names, score or {}),
        rows=[_row(share, i, names) for i, share in enumerate(shares)],
        matrix=cells,
        picture=None if few else _picture(shares),
    )


def _row(shares: np.ndarray, own: int, names: Sequence[str]) -> Row:
    wrong = shares.copy()
    wrong[own] = 0
    other = int(wrong.argmax())
    mistaken = f"{names[other]} ({_share(wrong[other])})" if wrong[other] > 0 else ""
    right = float(shares[own])
    return Row(name=names[own], share=right, accuracy=_share(right), mistaken=mistaken)


def _share(fraction: float) -> str:
    return f"{percent(float(fraction))}\N{NO-BREAK SPACE}%"


def _cell(share: float, true: int, answered: int, names: Sequence[str]) -> Cell:
    text = f"{100 * share:.0f}" if share >= LEAST_SHOWN else ""
    title = f"{_share(share)} of {names[true]!r} are answered as {names[answered]!r}"
    return Cell(title=title, text=text, strength=round(float(share), 3))


def _summary(shares: np.ndarray, names: Sequence[str], score: Mapping[str, Any]) -> str:
    """Say which class is recognised best and worst, and which mistake is the most frequent one."""
    right = shares.diagonal()
    best, worst = int(right.argmax()), int(right.argmin())
    text = f"Best: {names[best]}, {_share(right[best])}. "
    text += f"Worst: {names[worst]}, {_share(right[worst])}."
    wrong = shares - np.diag(right)
    true, other = divmod(int(wrong.argmax()), len(names))
    if wrong[true, other] > 0:
        text += f" Most frequent mistake: {_share(wrong[true, other])} of {names[true]} are answered as {names[other]}."
    return f"{text} All answers of {plural(score['n'], 'network')} to {number(score['images'])} examples are counted."


def _picture(shares: np.ndarray) -> Image.Image:
    """Return a picture with a pixel for each pair, less transparent the larger its share.

    The root of a share is drawn, which shows rare mistakes.
    """
    pixels = np.zeros((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3] = BLUE
    pixels[..., 3] = (np.sqrt(shares) * 255).round()
    return Image.fromarray(pixels)
