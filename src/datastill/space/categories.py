"""Categories in a table: a column of words becomes one column of 0 and 1 for each word."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import UserError, unknown

MOST = 100
"""The largest number of different values of a category."""


def column_name(column: str, value: str) -> str:
    """Return the name of the column that is 1 where `column` holds `value`."""
    return f"{column}={value}"


def values_of(cells: Iterable[Any], column: str) -> tuple[str, ...]:
    """Return the different values of a column as texts, in the order of the alphabet.

    Raises:
        UserError: there are none, or more than `MOST`.
    """
    found = sorted({text for text in map(_as_text, cells) if text})
    if not 0 < len(found) <= MOST:
        raise UserError(
            f"column {column!r} has {len(found)} different values, but a category must have from 1 to {MOST}; leave "
            "the column out"
        )
    return tuple(found)


def one_hot(cells: Iterable[Any], values: Sequence[str], where: str) -> Float[np.ndarray, "n values"]:
    """Return a column of 0 and 1 for each value; where a cell is empty, all of them are NaN.

    Raises:
        UserError: a cell holds another value.
    """
    texts = [_as_text(cell) for cell in cells]
    if other := next((text for text in texts if text and text not in values), ""):
        raise unknown("value", other, values, f"of {where}")
    found = np.array(texts)[:, None] == np.array(values)
    return np.where(np.array(texts)[:, None] == "", np.nan, found).astype(np.float32)


def split_name(name: str, columns: Iterable[str]) -> tuple[str, str] | None:
    """Return the column and the value in the name of a made column; None if it is made of none of `columns`."""
    found = (column for column in columns if name.startswith(column_name(column, "")))
    column = max(found, key=len, default=None)
    return None if column is None else (column, name[len(column_name(column, "")) :])


def user_column(name: str, columns: Iterable[str]) -> str:
    """Return the column of `columns` that a made column stands for; the name itself if it was made of none of them."""
    return (split_name(name, columns) or (name,))[0]


def _as_text(cell: Any) -> str:
    """Return the value of a cell as text; empty if it is missing."""
    if cell is None or cell != cell or type(cell).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(cell, float | np.floating) and cell == int(cell):  # whole numbers beside missing ones
        cell = int(cell)
    return " ".join(str(cell).split())
