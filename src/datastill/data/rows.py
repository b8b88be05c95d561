"""Real data of rows of numbers, given in Python: tables and signals."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

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
            (n, columns), or a data frame.
        columns: names of the columns; empty: those of the data frame, or ``x0``, ``x1`` and so on.
        name: the name of the data in messages and in sets.
        validation: share of each class of train that becomes the validation split, if there is none.
        seed: seed of this cut.

    Raises:
        UserError: the rows are no numbers, or have other columns in another split; a class has too few rows.
    """
    pairs = source if isinstance(source, Mapping) else {"train": source}
    settings = DataSettings(name=name, in_memory=True, validation=validation, seed=seed)
    kind = Rows(columns=tuple(columns))
    parts = {role: _labelled(pairs[split], split, kind) for role, split in roles(pairs).items()}
    return assemble(name, parts, settings)


@dataclass(frozen=True, kw_only=True)
class Rows(Kind):
    """Rows of numbers, as arrays or tensors (n, columns) or as data frames."""

    noun = "row"
    columns: tuple[str, ...] = ()
    """Names of the columns; empty: those of the data frame, or ``x0``, ``x1`` and so on."""

    def read(self, parts: dict[str, Any], settings: DataSettings) -> tuple[list[Tensor], Finish]:  # noqa: ARG002
        """Return the rows in float32."""
        names = _columns(list(parts.values()), self.columns)
        return [_numbers(rows, names, role) for role, rows in parts.items()], functools.partial(_with_vectors, names)


def _with_vectors(columns: tuple[str, ...], splits: Splits) -> tuple[Splits, Space]:
    rows = splits["train"].images
    mean, std = rows.double().mean(0).float(), rows.double().std(0, correction=0).float()
    std = std.masked_fill((rows == rows[0]).all(0), 1.0)
    return splits, Vectors(mean=tuple(mean.tolist()), std=tuple(std.tolist()), columns=columns)


def _labelled(pair: Any, split: str, kind: Kind) -> Labelled:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UserError(f"split {split!r} is a {type(pair).__name__}, but must be a pair (rows, labels)")
    return Labelled(examples=pair[0], labels=check_labels(pair[1], None, f"split {split!r}"), kind=kind)


def _columns(tables: list[Any], given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns: those that are given, those of a data frame, or made ones."""
    first = tables[0]
    if given:
        return given
    if hasattr(first, "columns"):
        return tuple(map(str, first.columns))
    shape = np.shape(first)
    return tuple(f"x{i}" for i in range(shape[1] if len(shape) == 2 else 0))


def _numbers(rows: Any, columns: tuple[str, ...], role: str) -> Float[Tensor, "n columns"]:
    """Return rows as float32; a data frame gives its columns by name."""
    if hasattr(rows, "columns") and hasattr(rows, "to_numpy"):
        if missing := [name for name in columns if name not in list(rows.columns)]:
            raise UserError(f"the {role} table lacks the column {missing[0]!r}")
        rows = rows[list(columns)].to_numpy()
    try:
        values = torch.as_tensor(rows if isinstance(rows, Tensor) else np.asarray(rows, dtype=np.float32)).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"the rows of {role} are no numbers: {str(error).splitlines()[0]}") from error
    if values.dim() != 2 or values.shape[1] != len(columns) or not values.numel():
        raise UserError(
            f"the rows of {role} have the shape {tuple(values.shape)}, but must be (n, {len(columns) or 'columns'})"
        )
    if not bool(values.isfinite().all()):
        raise UserError(f"the rows of {role} hold values that are missing or not finite; fill or remove them first")
    return values
