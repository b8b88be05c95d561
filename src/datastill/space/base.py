"""The contract of a space, and what spaces with a mean and a standard deviation have in common."""

import abc
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from ..errors import UserError
from ..storage.records import list_of, must_have_types, number

MOST_VALUES = 10_000
"""The largest number of channels or columns."""
MEANS = list_of(number(-1e9, 1e9), 1, MOST_VALUES)
DEVIATIONS = list_of(number(1e-9, 1e9), 1, MOST_VALUES)


@dataclass(frozen=True, kw_only=True)
class Space(abc.ABC):
    """What examples are: a frozen record of plain values."""

    noun: ClassVar[str]
    """The word for an example, e.g. ``image``; its plural is `nouns`."""
    exports: ClassVar[tuple[str, ...]]
    """The kinds of export that can hold the examples."""
    parts: ClassVar[str]
    """The word for the parts of an example that have names or places of their own, e.g. ``columns``."""
    compared: ClassVar[str]
    """The words for the numbers that `difference` compares."""
    kind: str = field(default="", init=False)
    """The name of the space in files."""

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, ...]:
            """The shape of one example, as a network takes it."""
            ...

    @property
    def nouns(self) -> str:
        """The word for several examples."""
        return f"{self.noun}s"

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The shape of an example in words, e.g. ``images of 1 × 28 × 28``."""

    @property
    @abc.abstractmethod
    def layout(self) -> str:
        """The names of the dimensions of an example, e.g. ``(channels, height, width)``."""

    @property
    @abc.abstractmethod
    def normalisation(self) -> str:
        """How real values are normalised, as a formula in words."""

    @property
    @abc.abstractmethod
    def sample(self) -> str:
        """A line of Python that stands for a user's own examples, called ``real``."""

    @abc.abstractmethod
    def normalise(self, values: Any) -> Float[Tensor, "..."]:
        """Return real examples as networks take them, in float32; see `DistilledSet.normalise`."""

    @abc.abstractmethod
    def scaled(self, stored: Shaped[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
        """Return real examples as networks take them, from what real data in memory holds; nothing is checked."""

    @abc.abstractmethod
    def original(self, inputs: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return normalised examples in the units of the real ones: the inverse of `normalise`, not clipped."""

    @abc.abstractmethod
    def renormalised(self, original: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return examples in the units of the real ones as networks take them: the inverse of `original`."""

    def as_bytes(self, inputs: Float[Tensor, "n *shape"]) -> UInt8[Tensor, "n *shape"] | None:  # noqa: ARG002
        """Return the bytes of which `scaled` makes these normalised examples, bit for bit; None: there are none."""
        return None

    def rounded(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Return the nearest normalised examples that `as_bytes` has bytes for; unchanged if it never has any."""
        return inputs

    def reads(self, other: "Space") -> bool:
        """Return whether this space understands what real data of another space holds in memory."""
        return type(other) is type(self) and other.shape == self.shape

    @property
    @abc.abstractmethod
    def stored_bytes(self) -> int:
        """Bytes of a real example."""

    @abc.abstractmethod
    def difference(self, other: "Space") -> float:
        """Return the largest difference of the numbers by which two spaces normalise; infinite if not comparable."""

    def lines(self, inputs: Float[Tensor, "n *shape"]) -> list[str] | None:  # noqa: ARG002
        """Return each normalised example as a line of text; None: they are shown as `pictures`."""
        return None

    def pictures(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n c h w"]:  # noqa: ARG002
        """Return normalised examples as pictures: values from 0 to 1 are from black to white, and may exceed them.

        Raises:
            UserError: the examples are shown as text.
        """
        raise UserError(
            f"{self.nouns} are shown as text, not as a picture; print it with datastill show FILE, or write it with "
            "datastill export FILE --kind csv --to FOLDER"
        )

    def how_shown(self, low: float, high: float) -> str:
        """Say how `pictures` are to be read if the value `low` is drawn black and `high` white."""
        raise NotImplementedError(f"{self.kind} are not shown as pictures")

    @property
    def needs_data(self) -> bool:
        """Whether real examples cannot be normalised, nor examples shown, before the real data was loaded here once."""
        return False

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays that real examples are normalised with, besides the numbers of the space, by name."""
        return {}

    @property
    def code(self) -> Path | None:
        """The file of Python code that real examples are normalised with, if that takes more than `normalisation`."""
        return None

    def columns_of(self, inputs: Float[Tensor, "n *shape"]) -> dict[str, list[Any]]:  # noqa: ARG002
        """Return named columns, with one value for each normalised example, that say what a reader would want to see.

        A value is a number, a text, or a list of numbers. There are none for images.
        """
        return {}

    def table(self, inputs: Float[Tensor, "n *shape"]) -> tuple[list[str], list[list[Any]]]:
        """Return the names of columns, and a row of values for each example, from which they follow exactly.

        The last columns are numbers, as many as an example has, in the units of the real ones.
        """
        raise NotImplementedError(f"{self.kind} cannot be written as a table")


@dataclass(frozen=True, kw_only=True)
class Scaled(Space):
    """A space of numbers x that are normalised as (x - mean) / std, in each channel or column."""

    mean: Annotated[tuple[float, ...], MEANS]
    """Mean of the real values, of each channel or column."""
    std: Annotated[tuple[float, ...], DEVIATIONS]
    """Standard deviation of the real values, of each channel or column; 1 if they are constant."""

    @property
    @abc.abstractmethod
    def formula(self) -> str:
        """How real values are normalised, without numbers."""

    @property
    def normalisation(self) -> str:
        """How real values are normalised, with all numbers."""
        mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std))
        return f"{self.formula}, with mean {mean} and standard deviation {std}"

    def statistics(self, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation in a shape that fits examples."""
        trailing = (1,) * (len(self.shape) - 1)
        mean, std = (torch.tensor(each, dtype=dtype, device=device) for each in (self.mean, self.std))
        return mean.view(-1, *trailing), std.view(-1, *trailing)

    def original(self, inputs: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return normalised examples in the units of the real ones: the inverse of `normalise`, not clipped."""
        mean, std = self.statistics(inputs.device)
        return inputs * std + mean

    def renormalised(self, original: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return (x - mean) / std."""
        mean, std = self.statistics(original.device)
        return (original - mean) / std

    def difference(self, other: Space) -> float:
        """Return the largest difference of two means or standard deviations."""
        if not isinstance(other, Scaled) or len(other.mean) != len(self.mean):
            return float("inf")
        return max(abs(a - b) for a, b in zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True))

    def _must_have_pairs(self, each: str) -> None:
        must_have_types(self)
        if len(self.std) != len(self.mean):
            raise UserError(f"mean has {len(self.mean)} values and std {len(self.std)}; give one for each {each}")
