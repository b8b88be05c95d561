"""Real data of numbers: rows of a table, and signals."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import space
from ..errors import UserError, unknown
from ..runlog import say
from ..space import Space, Vectors
from ..space.categories import column_name, one_hot, user_column, values_of
from ..space.vectors import UNUSABLE, column_words, made_names, not_numbers, real_numbers
from .kinds import Finish, Kind, Splits
from .labels import check_labels
from .real import RealData
from .settings import DataSettings
from .splits import Labelled, assemble, own_roles


def load_rows(
    source: Any,
    *,
    columns: Sequence[str] = (),
    categories: Sequence[str] = (),
    missing: Literal["refuse", "mean"] = "refuse",
    name: str = "rows",
    validation: float = DataSettings.validation,
    seed: int = DataSettings.seed,
) -> RealData:
    """Load rows of numbers, each with a class, as real data.

    Splits that are not there are cut off train as by `load_data`; rows that are equal stay in one split.

    Args:
        source: a pair (rows, labels), or a dict from the name of a split to such a pair. Rows are an array or a tensor
            (n, columns), or a data frame. An array or a tensor (n, channels, length) holds signals.
        columns: names of the columns, or of the channels of signals; empty: those of the data frame, or made ones.
        categories: columns that hold categories; see `DataSettings.categories`.
        missing: what is done with missing values; see `DataSettings.missing`.
        name: the name of the data in messages and in sets.
        validation: share of each class of train that becomes the validation split, if there is none.
        seed: seed of this cut.

    Raises:
        UserError: the rows are no numbers, or have other columns in another split; a class has too few rows.
    """
    pairs = source if isinstance(source, Mapping) else {"train": source}
    settings = DataSettings(
        name=name, in_memory=True, validation=validation, seed=seed, categories=tuple(categories), missing=missing
    )
    parts = {role: _labelled(pairs[split], split, tuple(columns)) for role, split in own_roles(pairs).items()}
    return assemble(name, parts, settings)


@dataclass(frozen=True, kw_only=True)
class Rows(Kind):
    """Rows of numbers, as arrays or tensors (n, columns) or as data frames."""

    noun = "row"
    settings = ("categories", "missing")
    layout: ClassVar[str] = "(n, columns)"
    counted: ClassVar[str] = "columns"
    """The dimension of the layout with as many values as there are names."""
    dimensions: ClassVar[int] = 2
    columns: tuple[str, ...] = ()
    """Names of the columns; empty: those of the data frame, or ``x0``, ``x1`` and so on."""

    def read(self, parts: dict[str, Any], settings: DataSettings) -> tuple[Sequence[Tensor], Finish]:
        """Return the examples in float32; missing values are NaN if they are filled later."""
        names, filled = self._columns(next(iter(parts.values()))), settings.missing == "mean"
        if settings.categories:
            names, parts = _with_categories(parts, names, settings.categories)
        shown = tuple(user_column(name, settings.categories) for name in names)
        values = [self._numbers(each, names, role, shown, filled=filled) for role, each in parts.items()]
        _must_have_equal_shapes({role: tuple(each.shape[1:]) for role, each in zip(parts, values, strict=True)}, self)
        return values, functools.partial(self._with, names)

    def _with(self, columns: tuple[str, ...], splits: Splits) -> tuple[Splits, Space]:
        splits = _filled(splits, columns)
        mean, std = _statistics(splits["train"].tensor)
        return splits, Vectors(mean=mean, std=std, columns=columns)

    def _columns(self, examples: Any) -> tuple[str, ...]:
        """Return the names of the columns: those that are given, those of a data frame, or made ones."""
        if self.columns or not hasattr(examples, "columns"):
            shape = np.shape(examples)
            count = shape[1] if len(shape) == self.dimensions else 0
            return self.columns or made_names(self.counted, count)
        return tuple(map(str, examples.columns))

    def _numbers(
        self, examples: Any, columns: tuple[str, ...], role: str, shown: tuple[str, ...], *, filled: bool = False
    ) -> Float[Tensor, "n *shape"]:
        """Return examples as float32; a data frame gives its columns by name, which errors call `shown`.

        NaN is left if it is filled later.
        """
        what = f"the {self.noun}s of {role}"
        if hasattr(examples, "columns") and hasattr(examples, "to_numpy"):
            if missing := [name for name in columns if name not in list(examples.columns)]:
                raise UserError(f"the {role} table lacks the column {missing[0]!r}")
            examples = examples[list(columns)].to_numpy()
        try:
            values = torch.as_tensor(real_numbers(examples)).float()
        except (TypeError, ValueError, RuntimeError) as error:
            why = not_numbers(examples, columns, self.counted, error)
            fix = "; name a column of words in categories, or leave it out" if why.startswith("column") else ""
            raise UserError(f"{what} are no numbers: {why}{fix}") from error
        if values.dim() != self.dimensions or values.shape[1] != len(columns) or not values.numel():
            wanted = self.layout.replace(self.counted, str(len(columns) or self.counted))
            raise UserError(f"{what} have the shape {tuple(values.shape)}, but must be {wanted}")
        usable = values.isfinite() | values.isnan() if filled else values.isfinite()
        wrong = ~usable.all(0).reshape(len(columns), -1).all(1)
        if bool(wrong.any()):
            where = column_words(shown, int(wrong.nonzero()[0]), self.counted)
            fillable = "missing" in self.settings and not values.isinf().any()
            fix = ", or set missing to mean to fill missing ones" if fillable else ""
            raise UserError(f"{what} hold {UNUSABLE}, in {where}; fill or remove them first{fix}")
        return values


@dataclass(frozen=True, kw_only=True)
class Signals(Rows):
    """Signals, as arrays or tensors (n, channels, length); `columns` are the names of the channels."""

    noun = "signal"
    settings = ()
    layout = "(n, channels, length)"
    counted = "channels"
    dimensions = 3

    def _with(self, columns: tuple[str, ...], splits: Splits) -> tuple[Splits, Space]:
        signals = splits["train"].tensor
        mean, std = _statistics(signals.transpose(1, 2).flatten(0, 1))
        return splits, space.Signals(mean=mean, std=std, columns=columns, length=signals.shape[2])


def _must_have_equal_shapes(shapes: Mapping[str, tuple[int, ...]], kind: Kind) -> None:
    (first, shape), *rest = shapes.items()
    for role, other in rest:
        if other != shape:
            raise UserError(
                f"the {kind.noun}s of {first} have the shape {shape}, but those of {role} {other}; cut them, or pad "
                "them with zeros, to one length"
            )


def _with_categories(
    parts: Mapping[str, Any], columns: tuple[str, ...], categories: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of the columns, and the examples as arrays, with a column for each value of a category."""
    if wrong := [name for name in categories if name not in columns]:
        raise unknown("column of categories", wrong[0], columns)
    cells = {role: _cells(each, columns, role) for role, each in parts.items()}
    values = {name: values_of(cells["train"][name], name) for name in categories}
    names: list[str] = []
    for name in columns:
        names += [column_name(name, value) for value in values[name]] if name in values else [name]
    return tuple(names), {role: _widened(each, values, role) for role, each in cells.items()}


def _cells(examples: Any, columns: tuple[str, ...], role: str) -> dict[str, Any]:
    """Return the columns of a data frame or an array by name."""
    if not hasattr(examples, "columns"):
        return dict(zip(columns, np.asarray(examples).T, strict=False))
    if missing := [name for name in columns if name not in list(examples.columns)]:
        raise UserError(f"the {role} table lacks the column {missing[0]!r}")
    return {name: np.asarray(examples[name]) for name in columns}


def _widened(cells: Mapping[str, Any], values: Mapping[str, tuple[str, ...]], role: str) -> np.ndarray:
    parts = [
        one_hot(each, values[name], f"column {name!r} of {role}") if name in values else np.asarray(each)[:, None]
        for name, each in cells.items()
    ]
    return np.hstack(parts)


def _filled(splits: Splits, columns: tuple[str, ...]) -> Splits:
    """Return the splits with the mean of each column of train where values are missing."""
    missing = sum(int(split.tensor.isnan().sum()) for split in splits.values())
    if not missing:
        return splits
    mean = splits["train"].tensor.double().nanmean(0).float()
    if bool(mean.isnan().any()):
        column = column_words(columns, int(mean.isnan().nonzero()[0]), Rows.counted)
        raise UserError(f"{column} has no value in train; leave it out")
    say(f"missing values filled with the means of their columns in train: {missing}")
    filled = {role: split.tensor.where(~split.tensor.isnan(), mean) for role, split in splits.items()}
    return {role: replace(split, images=filled[role]) for role, split in splits.items()}


def _statistics(rows: Float[Tensor, "n columns"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each column; 1 if it is constant."""
    mean, std = rows.double().mean(0).float(), rows.double().std(0, correction=0).float()
    std = std.masked_fill((rows == rows[0]).all(0), 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def _labelled(pair: Any, split: str, columns: tuple[str, ...]) -> Labelled:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UserError(f"split {split!r} is a {type(pair).__name__}, but must be a pair (rows, labels)")
    labels = check_labels(pair[1], None, f"split {split!r}")
    return Labelled(examples=pair[0], labels=labels, kind=kind_of(pair[0], columns))


def kind_of(values: Any, columns: tuple[str, ...] = ()) -> "Rows":
    """Return the kind of arrays of numbers: signals if they have three dimensions, otherwise rows."""
    _must_have_one_length(values)
    return Signals(columns=columns) if np.ndim(values) == 3 else Rows(columns=columns)


def _must_have_one_length(values: Any) -> None:
    """Raise a `UserError` if a list, or an array of arrays, holds examples of different shapes."""
    if (isinstance(values, np.ndarray) and values.dtype != object) or not isinstance(values, list | tuple | np.ndarray):
        return
    try:
        shapes = list(dict.fromkeys(np.shape(each) for each in values))
    except ValueError:  # channels of one example have different lengths
        shapes = []
    if len(shapes) != 1:
        which = f", e.g. {shapes[0]} and {shapes[1]}" if shapes else ""
        raise UserError(
            f"the examples have different shapes{which}; cut signals, or pad them with zeros, to one length, and give "
            "rows equal columns"
        )
