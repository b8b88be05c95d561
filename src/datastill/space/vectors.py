"""The space of rows of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError, counted
from ..storage.records import list_of, text
from .base import MOST_VALUES, Scaled, Space
from .categories import column_name, one_hot, split_name, user_column

MADE = {"columns": "x", "channels": "c"}
"""The letter of names that are made for columns or channels without names: ``x0``, ``x1`` and so on."""
UNUSABLE = "values that are missing or not finite (float32 ends at 3.4e38)"
"""The words for values that no set can hold."""
SHOWN = 3.0
"""The normalised value of a row that is shown white in a picture; its negative is shown black."""


@dataclass(frozen=True, kw_only=True)
class Vectors(Scaled):
    """Rows of numbers, e.g. of a table: a value x is normalised as (x - mean) / std, in each column."""

    noun = "row"
    exports = ("csv", "npz")
    parts = "columns"
    compared = "mean and std of columns"
    kind: Literal["vectors"] = field(default="vectors", init=False)
    columns: Annotated[tuple[str, ...], list_of(text(1000), 1, MOST_VALUES)]
    """Names of the columns, in the order of the values."""

    def __post_init__(self) -> None:
        self._must_have_pairs("column")
        if len(self.columns) != len(self.mean):
            raise UserError(
                f"there are {counted(len(self.columns), 'column')}, but {len(self.mean)} values of mean and std; "
                "give one for each column"
            )
        if len(set(self.columns)) < len(self.columns):
            raise UserError("two columns have one name; give every column another name")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(columns,)."""
        return (len(self.columns),)

    @property
    def words(self) -> str:
        """The shape of a row in words."""
        return f"rows of {counted(len(self.columns), 'number')}"

    @property
    def layout(self) -> str:
        """The names of the dimensions of a row."""
        return "(columns,)"

    @property
    def formula(self) -> str:
        """How values are normalised."""
        return "(value - mean) / std in each column"

    @property
    def sample(self) -> str:
        """A line of Python that stands for a user's rows."""
        return f"real = torch.randn(8, {len(self.columns)})  # your rows: a tensor, an array or a data frame"

    def normalise(self, values: Any) -> Float[Tensor, "... columns"]:
        """Return rows as float32 of shape (..., columns), from a tensor, an array, lists of numbers or a data frame."""
        rows = torch.as_tensor(self._array(values), dtype=torch.float32)
        if tuple(rows.shape[-len(self.shape) :]) != self.shape:
            found = f"{self.nouns} have the shape {tuple(rows.shape)}"
            raise UserError(f"{found}, but those of the set have {self.layout} = {self.shape}")
        if not bool(rows.isfinite().all()):
            raise UserError(f"{self.nouns} hold {UNUSABLE}, in {self._place(rows, values)}; fill or remove them first")
        return self.renormalised(rows)

    def scaled(self, stored: Float[Tensor, "... columns"], dtype: torch.dtype) -> Float[Tensor, "... columns"]:
        """Return rows in another precision, with mean 0 and standard deviation 1 in each column."""
        mean, std = self.statistics(stored.device, dtype)
        return (stored.to(dtype) - mean) / std

    def reads(self, other: Space) -> bool:
        """Return whether another space has these columns in this order."""
        return isinstance(other, Vectors) and other.columns == self.columns

    @property
    def stored_bytes(self) -> int:
        """Four bytes for each number."""
        return 4 * math.prod(self.shape)

    def difference(self, other: Space) -> float:
        """Return the largest difference of two means or standard deviations, as a multiple of the column's std."""
        if not isinstance(other, Vectors) or other.columns != self.columns:
            return float("inf")
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), (*self.std, *self.std), strict=True)
        return max(abs(a - b) / unit for a, b, unit in pairs)

    def pictures(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n 1 h w"]:
        """Return rows as lines of grey levels: normalised values from `-SHOWN` to `SHOWN` are from black to white."""
        return (inputs / (2 * SHOWN) + 0.5).view(len(inputs), 1, -1, self.shape[-1])

    def how_shown(self, low: float, high: float) -> str:
        """Say how rows are drawn."""
        return f"Each example is a line of grey levels, one for each column; {scale_words(low, high, 'column')}"

    def columns_of(self, inputs: Float[Tensor, "n *shape"]) -> dict[str, list[Any]]:
        """Return the columns, or the channels of signals, in their units."""
        exact = self._exact(inputs)
        return {name: exact[:, i].tolist() for i, name in enumerate(self.columns)}

    def table(self, inputs: Float[Tensor, "n *shape"]) -> tuple[list[str], list[list[Any]]]:
        """Return the columns, and the rows in their units."""
        return list(self.columns), self._exact(inputs).flatten(1).tolist()

    def _exact(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Return normalised examples in their units, with digits enough to give exactly these examples again."""
        mean, std = (each.double() for each in self.statistics(torch.device("cpu")))
        return inputs.detach().cpu().double() * std + mean

    def _array(self, values: Any) -> Any:
        if hasattr(values, "columns") and hasattr(values, "to_numpy"):  # a data frame of pandas or polars
            values = self._of_frame(values)
        try:
            return real_numbers(values)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.nouns} must be numbers: {not_numbers(values, self.columns, self.parts, error)}"
            ) from error

    def _place(self, rows: Float[Tensor, "... columns"], values: Any) -> str:
        """Return the words for the first column with values that are not finite."""
        usable = rows.isfinite().reshape(-1, *self.shape).all(0)
        there = list(getattr(values, "columns", ()))
        names = [user_column(name, () if name in there else there) for name in self.columns]
        return column_words(names, int((~usable.reshape(len(names), -1).all(1)).nonzero()[0]), self.parts)

    def _of_frame(self, frame: Any) -> Any:
        """Return the columns of a data frame; a column of categories gives its columns of 0 and 1."""
        there = list(frame.columns)
        made = {name: split_name(name, there) for name in self.columns if name not in there}
        if missing := [name for name, parts in made.items() if parts is None]:
            category = missing[0].partition("=")[0]
            made_of = f" (or {missing[0]!r}, of 0 and 1)" if category != missing[0] else ""
            raise UserError(f"the table lacks the column {category!r}{made_of} of the set")
        if not made:
            return frame[list(self.columns)].to_numpy()
        values: dict[str, list[str]] = {}
        for column, value in filter(None, made.values()):
            values.setdefault(column, []).append(value)
        found: dict[str, Any] = {name: np.asarray(frame[name]) for name in self.columns if name in there}
        for column, known in values.items():
            each = one_hot(np.asarray(frame[column]), known, f"column {column!r}")
            found |= {column_name(column, value): each[:, i] for i, value in enumerate(known)}
        return np.stack([found[name] for name in self.columns], axis=1)


def made_names(parts: str, count: int) -> tuple[str, ...]:
    """Return names for columns or channels that have none."""
    return tuple(f"{MADE[parts]}{i}" for i in range(count))


def column_words(names: Sequence[str], which: int, parts: str) -> str:
    """Return the words for a column or a channel: its name, or its number if names were made."""
    part = parts.removesuffix("s")
    made = tuple(names) == made_names(parts, len(names))
    return f"{part} {which} (counted from 0)" if made else f"{part} {names[which]!r}"


def real_numbers(values: Any) -> Tensor | np.ndarray:
    """Return a tensor as it is, and other numbers as an array in float32.

    Raises:
        TypeError, ValueError: they are no numbers, or complex ones, whose imaginary part would be lost.
    """
    given = values if isinstance(values, Tensor) else np.asarray(values)
    if given.is_complex() if isinstance(given, Tensor) else given.dtype.kind == "c":
        raise TypeError("complex ones have two parts; give each part as a column or a channel of its own")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        return given if isinstance(given, Tensor) else given.astype(np.float32, copy=False)


def not_numbers(values: Any, columns: Sequence[str], parts: str, error: Exception) -> str:
    """Return why rows are no numbers: the first column with such a value, or what NumPy says if none is found."""
    cells = np.asarray(values, dtype=object)
    if cells.ndim == 2 and cells.shape[1] == len(columns):
        for i, column in enumerate(cells.T):
            if wrong := [cell for cell in column if isinstance(cell, str) and not _is_number(cell)]:
                return f"{column_words(columns, i, parts)} holds {wrong[0]!r}"
    return str(error).splitlines()[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def scale_words(low: float, high: float, part: str) -> str:
    """Say which values are drawn black and white, if the levels `low` and `high` are."""
    black, white = ((level - 0.5) * 2 * SHOWN for level in (low, high))
    return f"black and white are {black:+.1f} and {white:+.1f} standard deviations from the mean of the {part}."
