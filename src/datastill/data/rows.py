"""Real data of numbers: rows of a table, and signals."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import space
from ..errors import UserError
from ..space import Space, Vectors
from .kinds import Finish, Kind, Splits
from .labels import check_labels
from .real import RealData
from .settings import DataSettings
from .splits import Labelled, assemble, roles


def load_rows(
    source: Any,
    *,
    columns: Sequence[str] = (),
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
        name: the name of the data in messages and in sets.
        validation: share of each class of train that becomes the validation split, if there is none.
        seed: seed of this cut.

    Raises:
        UserError: the rows are no numbers, or have other columns in another split; a class has too few rows.
    """
    pairs = source if isinstance(source, Mapping) else {"train": source}
    settings = DataSettings(name=name, in_memory=True, validation=validation, seed=seed)
    parts = {role: _labelled(pairs[split], split, tuple(columns)) for role, split in roles(pairs).items()}
    return assemble(name, parts, settings)


@dataclass(frozen=True, kw_only=True)
class Rows(Kind):
    """Rows of numbers, as arrays or tensors (n, columns) or as data frames."""

    noun = "row"
    layout: ClassVar[str] = "(n, columns)"
    dimensions: ClassVar[int] = 2
    first: ClassVar[str] = "x"
    """The letter of made names: ``x0``, ``x1`` and so on."""
    columns: tuple[str, ...] = ()
    """Names of the columns; empty: those of the data frame, or ``x0``, ``x1`` and so on."""

    def read(self, parts: dict[str, Any], settings: DataSettings) -> tuple[list[Tensor], Finish]:  # noqa: ARG002
        """Return the examples in float32."""
        names = self._columns(next(iter(parts.values())))
        return [self._numbers(each, names, role) for role, each in parts.items()], functools.partial(self._with, names)

    def _with(self, columns: tuple[str, ...], splits: Splits) -> tuple[Splits, Space]:
        mean, std = _statistics(splits["train"].images)
        return splits, Vectors(mean=mean, std=std, columns=columns)

    def _columns(self, examples: Any) -> tuple[str, ...]:
        """Return the names of the columns: those that are given, those of a data frame, or made ones."""
        if self.columns or not hasattr(examples, "columns"):
            shape = np.shape(examples)
            count = shape[1] if len(shape) == self.dimensions else 0
            return self.columns or tuple(f"{self.first}{i}" for i in range(count))
        return tuple(map(str, examples.columns))

    def _numbers(self, examples: Any, columns: tuple[str, ...], role: str) -> Float[Tensor, "n *shape"]:
        """Return examples as float32; a data frame gives its columns by name."""
        what = f"the {self.noun}s of {role}"
        if hasattr(examples, "columns") and hasattr(examples, "to_numpy"):
            if missing := [name for name in columns if name not in list(examples.columns)]:
                raise UserError(f"the {role} table lacks the column {missing[0]!r}")
            examples = examples[list(columns)].to_numpy()
        try:
            given = examples if isinstance(examples, Tensor) else np.asarray(examples, dtype=np.float32)
            values = torch.as_tensor(given).float()
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{what} are no numbers: {str(error).splitlines()[0]}") from error
        if values.dim() != self.dimensions or values.shape[1] != len(columns) or not values.numel():
            wanted = self.layout.replace("columns", str(len(columns) or "columns"))
            raise UserError(f"{what} have the shape {tuple(values.shape)}, but must be {wanted}")
        wrong = ~values.isfinite().all(0).reshape(len(columns), -1).all(1)
        if bool(wrong.any()):
            where = f"in {columns[int(wrong.nonzero()[0])]!r}"
            raise UserError(f"{what} hold values that are missing or not finite, {where}; fill or remove them first")
        return values


@dataclass(frozen=True, kw_only=True)
class Signals(Rows):
    """Signals, as arrays or tensors (n, channels, length); `columns` are the names of the channels."""

    noun = "signal"
    layout = "(n, channels, length)"
    dimensions = 3
    first = "c"

    def _with(self, columns: tuple[str, ...], splits: Splits) -> tuple[Splits, Space]:
        signals = splits["train"].images
        mean, std = _statistics(signals.transpose(1, 2).flatten(0, 1))
        return splits, space.Signals(mean=mean, std=std, columns=columns, length=signals.shape[2])


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
    return Signals(columns=columns) if np.ndim(values) == 3 else Rows(columns=columns)
