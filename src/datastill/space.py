"""The space of examples: what an example is, and how real ones are normalised before a network takes them."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .errors import UserError, counted
from .storage.records import kind_of, list_of, must_have_types, number, text, whole
from .user_images import as_pixels

MOST_VALUES = 10_000
"""The largest number of channels or columns."""
SHOWN = 3.0
"""The normalised value of a row that is shown white in a picture; its negative is shown black."""
MEANS = list_of(number(-1e9, 1e9), 1, MOST_VALUES)
DEVIATIONS = list_of(number(1e-9, 1e9), 1, MOST_VALUES)


@dataclass(frozen=True, kw_only=True)
class Space(abc.ABC):
    """What examples are: a frozen record of plain values."""

    kind: str = field(default="", init=False)
    """The name of the space in files."""
    mean: Annotated[tuple[float, ...], MEANS]
    """Mean of the real values, of each channel or column."""
    std: Annotated[tuple[float, ...], DEVIATIONS]
    """Standard deviation of the real values, of each channel or column; 1 if they are constant."""

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, ...]:
            """The shape of one example, as a network takes it."""
            ...

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The shape of an example in words, e.g. ``images of 1 × 28 × 28``."""

    @property
    @abc.abstractmethod
    def normalisation(self) -> str:
        """How real values are normalised, as a formula in words."""

    @abc.abstractmethod
    def normalise(self, values: Any) -> Float[Tensor, "..."]:
        """Return real examples as networks take them, in float32; see `DistilledSet.normalise`."""

    @abc.abstractmethod
    def statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation in a shape that fits examples."""

    @abc.abstractmethod
    def pictures(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n c h w"]:
        """Return normalised examples as pictures: values from 0 to 1 are from black to white, and may exceed them."""

    def original(self, inputs: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return normalised examples in the units of the real ones: the inverse of `normalise`, not clipped."""
        mean, std = self.statistics(inputs.device)
        return inputs * std + mean

    def _must_have_pairs(self, each: str) -> None:
        must_have_types(self)
        if len(self.std) != len(self.mean):
            raise UserError(f"mean has {len(self.mean)} values and std {len(self.std)}; give one for each {each}")


@dataclass(frozen=True, kw_only=True)
class Pixels(Space):
    """Images: a pixel p in [0, 1] is normalised as (p - mean) / std, with one mean and std for each channel."""

    kind: Literal["pixels"] = field(default="pixels", init=False)
    shape: Annotated[tuple[int, int, int], list_of(whole(1, 100_000), 3, 3)]  # type: ignore[override]
    """(channels, height, width) of an image."""

    def __post_init__(self) -> None:
        self._must_have_pairs("channel")
        if self.shape[0] != len(self.mean):
            raise UserError(
                f"the examples have {self.shape[0]} channels, but mean and std have {len(self.mean)} values; give "
                "one for each channel"
            )

    @property
    def words(self) -> str:
        """The shape of an image in words."""
        return f"images of {' × '.join(map(str, self.shape))}"

    @property
    def normalisation(self) -> str:
        """How pixels are normalised."""
        return "(pixel - mean) / std in each channel, for pixels in [0, 1]"

    def normalise(self, values: Any) -> Float[Tensor, "... c h w"]:
        """Return images as float32 of shape (..., channels, height, width)."""
        pixels = as_pixels(values, self.shape)
        mean, std = self.statistics(pixels.device)
        return (pixels - mean) / std

    def pictures(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the pixels of images."""
        return self.original(inputs)

    def statistics(self, device: torch.device) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
        """Return the mean and the standard deviation of each channel."""
        mean, std = (torch.tensor(each, dtype=torch.float32, device=device) for each in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]


@dataclass(frozen=True, kw_only=True)
class Vectors(Space):
    """Rows of numbers, e.g. of a table or a signal: a value x is normalised as (x - mean) / std, in each column."""

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
    def normalisation(self) -> str:
        """How values are normalised."""
        return "(value - mean) / std in each column"

    def normalise(self, values: Any) -> Float[Tensor, "... columns"]:
        """Return rows as float32 of shape (..., columns), from a tensor, an array, lists of numbers or a data frame."""
        rows = torch.as_tensor(self._array(values), dtype=torch.float32)
        if not rows.dim() or rows.shape[-1] != len(self.columns):
            wanted = counted(len(self.columns), "column")
            raise UserError(f"rows have the shape {tuple(rows.shape)}, but those of the set have {wanted}")
        if not bool(rows.isfinite().all()):
            raise UserError("rows hold values that are missing or not finite; fill or remove them first")
        mean, std = self.statistics(rows.device)
        return (rows - mean) / std

    def pictures(self, inputs: Float[Tensor, "n columns"]) -> Float[Tensor, "n 1 1 columns"]:
        """Return rows as lines of grey levels: normalised values from `-SHOWN` to `SHOWN` are from black to white."""
        return (inputs / (2 * SHOWN) + 0.5)[:, None, None]

    def _array(self, values: Any) -> Any:
        if hasattr(values, "columns") and hasattr(values, "to_numpy"):  # a data frame of pandas or polars
            if missing := [name for name in self.columns if name not in list(values.columns)]:
                raise UserError(f"the table lacks the column {missing[0]!r} of the set")
            values = values[list(self.columns)].to_numpy()
        try:
            return values if isinstance(values, Tensor) else np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"rows must be numbers: {str(error).splitlines()[0]}") from error

    def statistics(self, device: torch.device) -> tuple[Float[Tensor, " columns"], Float[Tensor, " columns"]]:
        """Return the mean and the standard deviation of each column."""
        mean, std = (torch.tensor(each, dtype=torch.float32, device=device) for each in (self.mean, self.std))
        return mean, std


SPACES: Mapping[str, type[Space]] = {"pixels": Pixels, "vectors": Vectors}
"""The spaces by the name ``kind`` that a file has for them."""
SPACE = kind_of(SPACES)
"""The rule of a space."""
